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
import { count, isolated, number } from "./words.js";

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
  const { weights, statistics } = countNumbers(lab.data);
  const kept = statistics ? ` and ${count(statistics, "running statistic")}` : "";
  replace(document.getElementById("title"), named(lab.data.title));
  replace(
    document.getElementById("subtitle"),
    named(lab.data.model),
    `, ${count(weights, "weight")}${kept}, made with minigrad. It runs here, in your browser${lab.live ? ", with the weights that Python sends" : ", and sends nothing"}.`,
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

// How many numbers the training learns, and how many statistics a normalisation keeps; constants are neither.
function countNumbers({ steps, weights }) {
  const kept = steps.filter(({ op, settings }) => op === "norm" && settings.statistics === "given");
  const statistics = new Set(kept.flatMap(({ inputs }) => inputs.slice(1, 3).map((input) => input?.weight)));
  const found = { weights: 0, statistics: 0 };
  for (const [name, { data }] of weights) {
    if (statistics.has(name)) found.statistics += data.length;
    else if (!/^constant \d+$/.test(name)) found.weights += data.length;
  }
  return found;
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
  badge.classList.toggle("bad", !found.agrees || found.missing !== null);
  badge.textContent = describeAgreement(found);
  const [, ...others] = found.images;
  const scores = others.length ? `, and the scores of ${others.length === 1 ? "image" : "images"} ${others.join(", ")}` : "";
  badge.title = `${count(found.compared, "value")} compared: of all layers for image 0${scores}; allowed: ${TOLERANCE} of the largest value`;
}

function describeAgreement({ agrees, largest, place, missing }) {
  if (!agrees && largest === Infinity)
    return `✗ browser and Python differ in ${isolated(place)}: only one of them has NaN or infinity there`;
  if (!agrees) return `✗ browser and Python differ by ${number(largest, 1)} in ${isolated(place)}`;
  if (missing !== null) return `browser and Python have NaN or infinity at the same places, from ${isolated(missing)} on`;
  return `✓ browser and Python agree: ${number(largest, 1)}`;
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
