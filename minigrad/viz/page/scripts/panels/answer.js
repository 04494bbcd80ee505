// Panel "The answer": what the network says about the picture, in one line and a few bars.

import { element, named, panel, replace } from "../dom.js";
import { argmax } from "../tensors.js";
import { percent } from "../words.js";

const SHOWN = 4;

export function makeAnswerPanel(lab) {
  const said = element("p", { class: "said", "aria-live": "polite" });
  const bars = element("div", { class: "bars" });
  const note = element("p", { class: "note" });
  lab.on("values", () => {
    const found = lab.probabilities;
    const none = lab.noAnswer;
    replace(said, ...(none ? [`No answer. ${none}`] : sentence(lab, found)));
    replace(bars, ...(none ? [] : strongest(found, SHOWN).map((i) => bar(lab, i, found[i]))));
    note.textContent = remark(lab);
  });
  return panel("answer", "The answer", null, said, bars, note);
}

function sentence(lab, probabilities) {
  const best = argmax(probabilities);
  return [element("strong", {}, named(lab.className(best))), ` with ${percent(probabilities[best])}`];
}

// The numbers of the n most probable classes, the most probable first.
export function strongest(probabilities, n) {
  const order = Array.from(probabilities, (_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
  return order.slice(0, n);
}

export function bar(lab, i, probability, before = null) {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${100 * (probability || 0)}%`;
  const mark = before === null ? null : element("span", { class: "mark", title: `before: ${percent(before)}` });
  if (mark) mark.style.left = `${100 * before}%`;
  return element(
    "div",
    { class: "bar" },
    element("span", { class: "name" }, named(lab.className(i))),
    element("span", { class: "track" }, fill, mark),
    element("span", { class: "value" }, percent(probability)),
  );
}

function remark(lab) {
  const { image, drawing, frame } = lab.state;
  if (frame !== null)
    return "The filters are those of an earlier moment, the dense layers are trained: read the maps, not this answer.";
  if (lab.isChanged) return "With filters that you changed.";
  if (!drawing && lab.data.labels) return `The label of this image is ${lab.classLabel(lab.data.labels[image])}.`;
  return "";
}
