// The connection to a Python program that trains: receive weights and loss, send play, pause, one step, learning rate.

import { floats } from "./data.js";
import { button, element, figure, replace } from "./dom.js";
import { makeCurve } from "./panels/curve.js";
import { paintMap } from "./palette.js";
import { largest } from "./tensors.js";
import { number } from "./words.js";

const MOST_POINTS = 400; // of the curve; every second one is dropped when there are more
const MOST_FILTERS = 32;

export class Live {
  constructor(lab) {
    this.lab = lab;
    this.steps = [];
    this.losses = [];
    this.paused = lab.data.live.paused;
    this.before = null;
  }

  // ---- what Python sends

  connect() {
    const source = new EventSource("events");
    source.onmessage = (event) => {
      const message = JSON.parse(event.data);
      this.receive(message);
      if (message.finished) source.close();
    };
    source.onerror = () => this.say("The connection to Python is lost; the page shows the last weights.");
  }

  receive({ step, loss, paused, lr, weights, gradients, finished, whole }) {
    this.paused = paused || finished;
    if (loss !== null) this.addPoint(step, loss);
    for (const [name, text] of Object.entries(weights)) this.lab.network.weights.get(name)?.data.set(floats(text));
    if (!document.hidden) this.draw(gradients);
    this.play.textContent = paused ? "▶ Play" : "Pause";
    this.play.disabled = this.one.disabled = finished;
    if (lr !== null && document.activeElement !== this.rate) this.rate.value = lr;
    this.say(
      `Step ${step.toLocaleString("en")}, loss ${number(loss)}. ${finished ? "The training is finished." : paused ? "Paused." : "Training."}`,
    );
    // most messages hold the first convolution only; the network is computed again when all weights have come
    if (whole) this.lab.request("weights");
  }

  draw(gradients) {
    this.drawFilters(gradients);
    this.curve.setData(this.steps, this.losses);
    this.curve.mark(this.steps.length - 1);
  }

  addPoint(step, loss) {
    this.steps.push(step);
    this.losses.push(loss);
    if (this.steps.length > MOST_POINTS) {
      this.steps = this.steps.filter((_, i) => i % 2 === 0);
      this.losses = this.losses.filter((_, i) => i % 2 === 0);
    }
  }

  // Each filter of the first convolution, its gradient, and what the last steps changed.
  drawFilters(gradients) {
    const layer = this.lab.convolutions[0];
    if (!layer) return;
    const { shape, data } = this.lab.network.weights.get(layer.convolution.weight);
    const [F, C, KH, KW] = shape;
    const gradient = gradients[layer.convolution.weight] ? floats(gradients[layer.convolution.weight]) : null;
    const change = this.before ? data.map((x, i) => x - this.before[i]) : null;
    this.before = data.slice();
    const slice = (values, f) =>
      values?.subarray(f * C * KH * KW, f * C * KH * KW + KH * KW) ?? new Float32Array(KH * KW);
    this.pictures ??= this.makePictures(Math.min(F, MOST_FILTERS));
    this.pictures.forEach((canvases, f) =>
      [data, gradient, change].forEach((values, i) =>
        paintMap(canvases[i], slice(values, f), KW, KH, largest(slice(values, f)) || 1),
      ),
    );
  }

  makePictures(filters) {
    const names = ["weights", "gradient", "change"];
    const made = Array.from({ length: filters }, (_, f) =>
      names.map((name) =>
        element("canvas", { class: "map filter", role: "img", "aria-label": `${name} of filter ${f}`, title: name }),
      ),
    );
    replace(this.filters, ...made.map((canvases, f) => figure(`filter ${f}`, ...canvases)));
    return made;
  }

  say(text) {
    this.told.textContent = text;
  }

  // ---- what the reader asks for

  async send(command) {
    try {
      const answer = await fetch("control", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(command),
      });
      if (!answer.ok) this.say(await answer.text());
    } catch {
      this.say("Python does not answer: the program has ended.");
    }
  }

  makeControls() {
    this.play = button("▶ Play", () => this.send({ command: this.paused ? "play" : "pause" }), { id: "live-play" });
    this.one = button("One step", () => this.send({ command: "step" }), { id: "live-step" });
    this.rate = element("input", { type: "number", min: 0, step: "any", id: "live-rate" });
    this.rate.addEventListener("change", () => this.send({ command: "rate", value: Number(this.rate.value) }));
    this.rateLabel = element(
      "label",
      { class: "choice", hidden: !this.lab.data.live.rate },
      element("span", {}, "Learning rate"),
      this.rate,
    );
    this.curve = makeCurve("Loss while Python trains", [], []);
    this.filters = element("div", { class: "film" });
    this.told = element("p", { class: "told", "aria-live": "polite" }, "Waiting for Python.");
    return element(
      "div",
      {},
      element("div", { class: "controls" }, this.play, this.one, this.rateLabel),
      element("div", { class: "training" }, this.curve.node, this.filters),
      this.told,
      element(
        "p",
        { class: "note" },
        "Left: the filter of the first convolution. Middle: its gradient. Right: what changed since the last picture.",
      ),
    );
  }
}
