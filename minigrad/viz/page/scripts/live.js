// The connection to a Python program that trains: receive weights and loss, send what the reader asks for.

import { floats } from "./data.js";
import { button, choice, element, replace } from "./dom.js";
import { makeCurve } from "./panels/curve.js";
import { describeFilms, makeFilms } from "./panels/films.js";
import { lossText } from "./words.js";

const MOST_POINTS = 400; // of the curve; every second one is dropped when there are more

export class Live {
  constructor(lab) {
    this.lab = lab;
    this.steps = [];
    this.losses = [];
    this.run = 0;
    this.paused = lab.data.live.paused;
    this.finished = false;
    this.frozen = {}; // name of a weight -> numbers of the filters that Python keeps
    this.gradients = {}; // name of a weight -> {float32} or {none: the reason}
    this.before = new Map(); // name of a weight -> its numbers in the message before
    this.changes = new Map();
    this.watched = lab.convolutions[0]?.convolution.weight ?? null;
  }

  // ---- what Python sends

  connect() {
    const source = new EventSource("events");
    source.onmessage = (event) => this.receive(JSON.parse(event.data));
    source.onopen = () => this.lost && this.say("Python is there again.");
    source.onerror = () => {
      if (this.finished) return source.close(); // Python has ended
      this.lost = true;
      this.say("The connection to Python is lost; the page shows the last weights.");
    };
  }

  receive(message) {
    const { run, step, loss, paused, lr, finished, stopped, frozen, gradients, watched, whole } = message;
    if (run !== this.run) this.clear(run);
    Object.assign(this, { paused: paused || finished, finished, frozen, watched });
    Object.assign(this.gradients, gradients);
    if (loss !== null && !(this.steps.at(-1) >= step)) this.addPoint(step, loss);
    this.takeWeights(message.weights);
    if (!document.hidden) this.draw();
    this.play.textContent = paused ? "▶ Play" : "Pause";
    this.play.disabled = this.one.disabled = finished;
    this.rate.disabled = finished;
    if (lr !== null && document.activeElement !== this.rate) this.rate.value = lr;
    const ended = stopped ? "The training was stopped." : "The training is finished.";
    const state = finished ? ended : paused ? "Paused." : "Training.";
    this.say(`Step ${step.toLocaleString("en")}${step ? `, ${lossText(loss, true)}` : ""}. ${state}`);
    // most messages hold one convolution only; the network is computed again when all weights have come
    if (whole) this.lab.request("weights");
    this.lab.emit("live");
  }

  // Another run begins.
  clear(run) {
    this.run = run;
    this.steps = [];
    this.losses = [];
    this.before.clear();
    this.changes.clear();
  }

  takeWeights(weights) {
    for (const [name, text] of Object.entries(weights)) {
      const known = this.lab.network.weights.get(name);
      if (!known) continue;
      known.data.set(floats(text));
      const before = this.before.get(name);
      this.changes.set(name, before ? known.data.map((x, i) => x - before[i]) : null);
      this.before.set(name, known.data.slice());
    }
  }

  addPoint(step, loss) {
    this.steps.push(step);
    this.losses.push(loss);
    if (this.steps.length > MOST_POINTS) {
      this.steps = this.steps.filter((_, i) => i % 2 === 0);
      this.losses = this.losses.filter((_, i) => i % 2 === 0);
    }
  }

  draw() {
    this.curve.setData(this.steps, this.losses);
    this.curve.mark(this.steps.length - 1);
    if (!this.watched) return;
    this.layers.input.value = this.watched;
    const { shape, data } = this.lab.network.weights.get(this.watched);
    const { float32, none } = this.gradients[this.watched] ?? {};
    this.films.draw({
      shape: shape,
      weights: data,
      gradients: float32 ? floats(float32) : null,
      updates: this.changes.get(this.watched) ?? null,
      strongest: data,
      caption: (f) => (this.isFrozen(this.watched, f) ? `filter ${f}, frozen` : `filter ${f}`),
    });
    this.note.textContent =
      describeFilms(shape, "at the last update", "of the last step") +
      (none ? ` There is no gradient: ${none}.` : "");
  }

  isFrozen(name, filter) {
    return this.frozen[name]?.includes(filter) ?? false;
  }

  say(text) {
    this.told.textContent = text;
  }

  // ---- what the reader asks for

  // Returns whether Python accepted it.
  async send(command) {
    try {
      const answer = await fetch("control", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(command),
      });
      if (!answer.ok) this.say(`Python refuses: ${await answer.text()}.`);
      return answer.ok;
    } catch {
      this.say("Python does not answer: the program has ended.");
      return false;
    }
  }

  // Write a filter of the reader's into the model.
  async put(name, filter, weights) {
    const bytes = new Uint8Array(Float32Array.from(weights).buffer);
    const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    if (await this.send({ command: "put", name, filter, weights: text })) this.lab.forget(name, filter);
  }

  makeControls() {
    const { lab } = this;
    this.play = button("▶ Play", () => this.send({ command: this.paused ? "play" : "pause" }), { id: "live-play" });
    this.one = button("One step", () => this.send({ command: "step" }), { id: "live-step" });
    this.rate = element("input", { type: "number", min: 0, step: "any", id: "live-rate" });
    this.rate.addEventListener("change", () => this.send({ command: "rate", value: Number(this.rate.value) }));
    const rate = element(
      "label",
      { class: "choice", hidden: !lab.data.live.rate },
      element("span", {}, "Learning rate"),
      this.rate,
    );
    this.layers = choice(
      "Watch",
      lab.convolutions.map(({ convolution, name }) => [convolution.weight, name]),
      this.watched,
      (name) => this.watch(name),
      { id: "live-layer" },
    );
    this.layers.node.hidden = !this.watched;
    this.curve = makeCurve("Loss while Python trains", [], []);
    this.films = makeFilms();
    this.note = element("p", { class: "note" });
    this.told = element("p", { class: "told", "aria-live": "polite" }, "Waiting for Python.");
    return element(
      "div",
      {},
      element("div", { class: "controls" }, this.play, this.one, rate, this.layers.node, this.makeRestart()),
      this.told,
      element("div", { class: "training" }, this.curve.node, this.films.node),
      this.note,
    );
  }

  // A seed, and a button that begins the training again with it.
  makeRestart() {
    if (!this.lab.data.live.restart) return null;
    this.seed = element("input", { type: "number", min: 0, max: 4294967295, step: 1, value: 1, id: "live-seed" });
    const again = () => this.send({ command: "restart", value: Number(this.seed.value) });
    return element(
      "span",
      { class: "choice" },
      element("label", { class: "choice" }, element("span", {}, "Seed"), this.seed),
      button("Restart", again, { id: "live-restart" }),
    );
  }

  watch(name) {
    this.watched = name;
    this.draw();
    this.send({ command: "watch", name });
  }
}
