// Panel "Training": the filters at every recorded moment, what changed, and the loss.  In live mode, also the controls.

import { button, choice, element, figure, panel, replace, slider } from "../dom.js";
import { item } from "../data.js";
import { paintMap } from "../palette.js";
import { largest } from "../tensors.js";
import { decimals, number } from "../words.js";
import { makeCurve } from "./curve.js";

const MOST_FILTERS = 32;
const PAUSE = 250; // milliseconds between two frames

export function makeTrainingPanel(lab) {
  const lead =
    "Filters start as random numbers. After every batch of images, each weight moves a little in the direction that lowers the loss.";
  const parts = [];
  if (lab.live) parts.push(lab.live.makeControls());
  parts.push(lab.data.tape ? new TapeView(lab).node : noTape(lab));
  return panel("training", "Training: where filters come from", lead, ...parts);
}

function noTape(lab) {
  if (lab.live) return null;
  return element(
    "div",
    { class: "hint" },
    element("p", {}, "This page has no recording of the training. Make one in Python:"),
    element(
      "pre",
      {},
      'tape = viz.FilterTape(model)   # before the training\ntape.step(loss)                # after every step\nviz.page(model, images, "lab.html", tape=tape)',
    ),
  );
}

class TapeView {
  constructor(lab) {
    this.lab = lab;
    this.tape = lab.data.tape;
    this.layerName = [...this.tape.weights.keys()][0];
    this.last = this.tape.steps.length - 1;
    this.endsTrained = this.endsWithModel();
    this.node = this.build();
    lab.on("weights", () => this.draw());
    this.draw();
  }

  get frame() {
    return this.lab.state.frame ?? this.last;
  }

  build() {
    const format = (i) => `step ${this.tape.steps[i].toLocaleString("en")}`;
    this.scrubber = slider("Moment", { min: 0, max: this.last, value: this.frame, format, id: "scrub" }, (i) =>
      this.show(i),
    );
    this.layers = choice(
      "Layer",
      [...this.tape.weights.keys()].map((name) => [name, name]),
      this.layerName,
      (name) => {
        this.layerName = name;
        this.draw();
      },
    );
    this.play = button("▶ Play", () => (this.timer ? this.stop() : this.start()), { id: "play-tape" });
    this.curve = makeCurve("Loss during training", this.tape.steps, this.tape.losses, (i) => this.show(i));
    this.filters = element("div", { class: "film" });
    this.told = element("p", { class: "told", "aria-live": "polite" });
    return element(
      "div",
      {},
      element("div", { class: "controls" }, this.play, this.scrubber.node, this.layers.node),
      element("div", { class: "training" }, this.curve.node, this.filters),
      this.told,
    );
  }

  // Whether the last frame holds the weights of the model, and not those of a moment before.
  endsWithModel() {
    return [...this.tape.weights].every(([name, frames]) => {
      const learned = this.lab.learned.weight(`${name}.weight`);
      return !learned || item(frames, this.last).every((x, i) => Object.is(x, learned.data[i]));
    });
  }

  show(i) {
    this.lab.set({ frame: i === this.last && this.endsTrained ? null : i }, "weights");
  }

  start() {
    let next = this.frame === this.last ? 0 : this.frame;
    this.play.textContent = "Pause";
    this.timer = setInterval(() => {
      this.show(next);
      if (next++ >= this.last) this.stop();
    }, PAUSE);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.play.textContent = "▶ Play";
  }

  // A frame of the layer: (F, C, KH, KW)
  weightsAt(frame) {
    return item(this.tape.weights.get(this.layerName), frame);
  }

  draw() {
    const { frame, tape } = this;
    this.scrubber.set(frame);
    this.curve.mark(frame);
    const [, F, C, KH, KW] = tape.weights.get(this.layerName).shape;
    const now = this.weightsAt(frame);
    const before = this.weightsAt(Math.max(0, frame - 1));
    const start = this.weightsAt(0);
    const scale = largest(tape.weights.get(this.layerName).data);
    const update = now.map((x, i) => x - before[i]);
    const shown = Math.min(F, MOST_FILTERS);
    const cells = Array.from({ length: shown }, (_, f) =>
      this.makeCell(f, { now, update, start, scale, shape: [C, KH, KW] }),
    );
    replace(this.filters, ...cells);
    this.told.textContent = this.describe(frame, F, shown, C);
  }

  // A filter, what changed since the moment before, and how far it is from its start.
  makeCell(f, { now, update, start, scale, shape: [C, KH, KW] }) {
    const each = C * KH * KW;
    const part = (data) => data.subarray(f * each, (f + 1) * each);
    const channel = strongestChannel(part(this.weightsAt(this.last)), C);
    const slice = (data) => part(data).subarray(channel * KH * KW, (channel + 1) * KH * KW);
    const weight = element("canvas", { class: "map filter", role: "img", "aria-label": `Filter ${f}` });
    const change = element("canvas", { class: "map filter", role: "img", "aria-label": `Change of filter ${f}` });
    paintMap(weight, slice(now), KW, KH, scale);
    paintMap(change, slice(update), KW, KH, largest(update) || 1);
    const moved = Math.hypot(...part(now).map((x, i) => x - part(start)[i])) / (Math.hypot(...part(start)) || 1);
    return figure(`${f}: moved ${decimals(moved, 2)}`, weight, change);
  }

  describe(frame, F, shown, C) {
    const loss = this.tape.losses[frame];
    const channel = C > 1 ? " Of each filter, the strongest input channel is shown." : "";
    const some = shown < F ? ` The first ${shown} of ${F} filters are shown.` : "";
    return (
      `Step ${this.tape.steps[frame].toLocaleString("en")}, loss ${number(loss)}. Left: the filter. Right: what changed since the moment before. ` +
      `"Moved" is the distance from its random start, divided by its length at the start.${channel}${some}`
    );
  }
}

function strongestChannel(filter, C) {
  const each = filter.length / C;
  const strength = (c) => Math.hypot(...filter.subarray(c * each, (c + 1) * each));
  return Array.from({ length: C }, (_, c) => c).reduce((best, c) => (strength(c) > strength(best) ? c : best), 0);
}
