// Panel "Training": the filters at every recorded moment, what changed, and the loss.  In live mode, also the controls.

import { button, choice, element, panel, slider } from "../dom.js";
import { item } from "../data.js";
import { largest } from "../tensors.js";
import { count, decimals, lossText } from "../words.js";
import { makeCurve } from "./curve.js";
import { describeFilms, makeFilms } from "./films.js";

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
      'tape = viz.FilterTape(model, gradients=True)   # before the training\ntape.step(loss)                                # after every step\nviz.page(model, images, "lab.html", tape=tape)',
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
    this.films = makeFilms();
    this.told = element("p", { class: "told", "aria-live": "polite" });
    return element(
      "div",
      {},
      element("div", { class: "controls" }, this.play, this.scrubber.node, this.layers.node),
      element("div", { class: "training" }, this.curve.node, this.films.node),
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
    const all = tape.weights.get(this.layerName);
    const [now, before, start] = [frame, Math.max(0, frame - 1), 0].map((i) => this.weightsAt(i));
    const gradients = tape.gradients.get(this.layerName);
    const each = now.length / all.shape[1];
    const part = (data, f) => data.subarray(f * each, (f + 1) * each);
    this.films.draw({
      shape: all.shape.slice(1),
      weights: now,
      gradients: gradients ? item(gradients, frame) : null,
      updates: frame ? now.map((x, i) => x - before[i]) : null,
      strongest: this.weightsAt(this.last),
      scale: largest(all.data),
      caption: (f) => `filter ${f}: moved ${decimals(distance(part(now, f), part(start, f)), 2)}`,
    });
    this.told.textContent = this.describe(frame, all.shape.slice(1), gradients && item(gradients, frame));
  }

  describe(frame, shape, gradient) {
    const { steps, losses } = this.tape;
    const between = frame ? `${count(steps[frame] - steps[frame - 1], "step")} before` : "at the moment before";
    const some = gradient?.some((x) => x === x) ? "" : ` ${this.missingGradient(frame)}`;
    return (
      `Step ${steps[frame].toLocaleString("en")}, ${lossText(losses[frame], this.last > 0)}. ` +
      `${describeFilms(shape, between, "of the last step before this moment")} ` +
      `"Moved" is the distance from its start, divided by its length at the start.${some}`
    );
  }

  missingGradient(frame) {
    if (!this.tape.gradients.size) return "The gradients are not recorded: make the tape with gradients=True.";
    if (frame === 0) return "Before the first step there is no gradient.";
    return "There is no gradient here: it was NaN, or the training cleared it before tape.step(loss).";
  }
}

// The distance of a filter from its start, relative to its length there.
function distance(now, start) {
  return Math.hypot(...now.map((x, i) => x - start[i])) / (Math.hypot(...start) || 1);
}
