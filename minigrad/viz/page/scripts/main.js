// Start the page: read the data, build the panels, restore the state of the link, check against Python.

import { keepState, readState } from "./address.js";
import { compareWithPython, TOLERANCE } from "./check.js";
import { readData } from "./data.js";
import { element, named, replace } from "./dom.js";
import { Lab } from "./lab.js";
import { Live } from "./live.js";
import { makeAnswerPanel } from "./panels/answer.js";
import { makeConvolutionPanel } from "./panels/convolution.js";
import { makeEditorPanel } from "./panels/editor.js";
import { makeExcitationPanel } from "./panels/excitation.js";
import { makeChangesPanel, makeInputPanel } from "./panels/input.js";
import { makeLessonsPanel } from "./panels/lessons.js";
import { makeMapsPanel } from "./panels/maps.js";
import { makePixelPanel } from "./panels/pixel.js";
import { makeTrainingPanel } from "./panels/training.js";
import { makeWhyPanel } from "./panels/why.js";
import { count, number } from "./words.js";

const SIDE = [makeInputPanel, makeAnswerPanel, makeChangesPanel];
const MAIN = [
  makeLessonsPanel,
  makeMapsPanel,
  makePixelPanel,
  makeEditorPanel,
  makeTrainingPanel,
  makeExcitationPanel,
  makeWhyPanel,
  makeConvolutionPanel,
];

function start() {
  const lab = new Lab(readData());
  if (lab.data.live) lab.live = new Live(lab);
  replace(document.getElementById("side"), ...SIDE.map((make) => make(lab)));
  replace(document.getElementById("main"), ...MAIN.map((make) => make(lab)).filter(Boolean));
  fillHeader(lab);
  showNotes(lab);
  readState(lab, location.hash);
  keepState(lab);
  addEventListener("hashchange", () => readState(lab, location.hash));
  lab.live?.connect();
  window.lab = lab; // for the console of the browser
}

function fillHeader(lab) {
  const parameters = [...lab.data.weights.values()].reduce((sum, { data }) => sum + data.length, 0);
  replace(document.getElementById("title"), named(lab.data.title));
  replace(
    document.getElementById("subtitle"),
    named(lab.data.model),
    `, ${count(parameters, "number")} learned by minigrad. It runs here, in your browser${lab.live ? ", with the weights that Python sends" : ", and sends nothing"}.`,
  );
  document
    .getElementById("sections")
    .append(
      ...[...document.querySelectorAll("main section")].map((section) =>
        element("a", { href: `#${section.id}`, onclick: (event) => goTo(event, section) }, shortName(section)),
      ),
    );
  const longest = Math.max(...lab.data.classes.map((name) => name.length));
  document.documentElement.style.setProperty("--name", `${Math.min(longest + 1, 12)}ch`);
  showAgreement(compareWithPython(lab.learned, lab.data));
}

// The heading up to the first comma or colon.
function shortName(section) {
  return section.querySelector("h2").textContent.split(/[,:]/)[0];
}

// A link to a section must not replace the state in the fragment.
function goTo(event, section) {
  event.preventDefault();
  section.scrollIntoView();
  const heading = section.querySelector("h2");
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

function showAgreement(found) {
  const badge = document.getElementById("agreement");
  badge.classList.toggle("bad", !found.agrees);
  badge.textContent = found.agrees
    ? `✓ browser and Python agree: ${number(found.largest, 1)}`
    : `✗ browser and Python differ by ${number(found.largest, 1)} in ${found.layer}`;
  badge.title = `${count(found.compared, "value")} of all layers compared for image 0; allowed: ${TOLERANCE} of a layer's largest value`;
}

// What must be known before trusting the pictures.
function showNotes(lab) {
  const notes = document.getElementById("notes");
  const show = (texts) =>
    replace(
      notes,
      texts.map((text) => element("p", {}, named(text))),
    );
  show(lab.data.notes);
  lab.on("accuracy", () => show([...lab.data.notes, ...doubtTraining(lab)]));
}

function doubtTraining(lab) {
  const { classes, labels, images, live } = lab.data;
  if (!labels || live || images.shape[0] < 20) return [];
  const [right, chance] = [lab.accuracy.base.right / images.shape[0], 1 / classes.length];
  if (right > 2 * chance) return [];
  return [
    `This model is right on ${Math.round(100 * right)} % of the images in this page; guessing gives ${Math.round(100 * chance)} %. It may not be trained, or it was trained on other images.`,
  ];
}

start();
