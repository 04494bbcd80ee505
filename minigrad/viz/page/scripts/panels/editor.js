// Panel "Change a filter": type numbers or choose a known filter, silence filters, and watch maps and accuracy.

import { countRight } from "../accuracy.js";
import { CLASSIC, withLength } from "../classic.js";
import { button, checkbox, choice, drawWhenSeen, element, figure, panel, replace } from "../dom.js";
import { colourOf, paintMap } from "../palette.js";
import { largest, plane } from "../tensors.js";
import { count, decimals, percent } from "../words.js";

const DELAY = 250; // milliseconds without a change before the accuracy is counted

export function makeEditorPanel(lab) {
  const lead = "Put a filter of your own into the network, or silence one. See what its map and the answers become.";
  if (!lab.convolutions.length) return panel("editor", "Change a filter", "This model has no convolution.");
  const editor = new Editor(lab);
  const node = panel(
    "editor",
    "Change a filter",
    lead,
    editor.controls,
    editor.note,
    element(
      "div",
      { class: "workbench" },
      element("div", {}, editor.grid, editor.presets),
      element("div", {}, editor.pictures, editor.score),
    ),
    element(
      "div",
      { class: "buttons" },
      editor.sendButton,
      button("Reset this filter", () => editor.reset(), { id: "reset-filter" }),
      button("Reset everything", () => lab.resetWeights(), { id: "reset-all" }),
    ),
  );
  drawWhenSeen(node, lab, "values", () => editor.draw());
  return node;
}

class Editor {
  constructor(lab) {
    this.lab = lab;
    this.layer = lab.convolutions[0];
    this.filter = 0;
    this.channel = 0;
    this.controls = this.makeControls();
    this.grid = element("div", { class: "weights", role: "group", "aria-label": "Weights of the filter" });
    this.presets = this.makePresets();
    this.pictures = this.makePictures();
    this.score = element("p", { class: "score", "aria-live": "polite" });
    this.note = element("p", { class: "note", "aria-live": "polite" });
    this.sendButton = this.makeSendButton();
    this.build();
    lab.on("weights", () => this.refresh());
    lab.on("live", () => this.showFrozen());
    this.countLater();
  }

  makeControls() {
    const { lab } = this;
    this.layers = choice(
      "Layer",
      lab.convolutions.map((layer) => [String(layer.number), layer.name]),
      null,
      (value) => {
        this.layer = lab.layers[Number(value)];
        this.filter = this.channel = 0;
        this.build();
      },
      { id: "edit-layer" },
    );
    this.filters = choice("Filter", [], null, (value) => this.choose({ filter: Number(value) }), { id: "edit-filter" });
    this.channels = choice("Input channel", [], null, (value) => this.choose({ channel: Number(value) }), {
      id: "edit-channel",
    });
    this.silent = checkbox(
      "Silence it (its map is 0)",
      false,
      (quiet) => lab.silence(this.layer.convolution.number, this.filter, quiet),
      { id: "silence" },
    );
    this.frozen = checkbox(
      lab.live ? "Freeze it (the training leaves it as it is)" : "Freeze it (it stays while you replay the training)",
      false,
      (frozen) => this.freeze(frozen),
      { id: "freeze" },
    );
    this.frozen.node.hidden = !lab.live && !lab.data.tape;
    return element(
      "div",
      { class: "controls" },
      this.layers.node,
      this.filters.node,
      this.channels.node,
      this.silent.node,
      this.frozen.node,
    );
  }

  // In the live page Python keeps the filter, else this page does.
  async freeze(value) {
    const { lab, filter } = this;
    const name = this.layer.convolution.weight;
    if (!lab.live) lab.freeze(name, filter, value);
    else if (!(await lab.live.send({ command: "freeze", name, filter, value }))) this.showFrozen();
  }

  // A button that writes the edited filter into the model that Python trains.
  makeSendButton() {
    const { lab } = this;
    const send = () => lab.live.put(this.layer.convolution.weight, this.filter, this.weights);
    return button("Put it into the training", send, { id: "put-filter", class: "primary", hidden: !lab.live });
  }

  showFrozen() {
    const { lab, filter } = this;
    const { weight } = this.layer.convolution;
    const edit = lab.editOf(weight, filter);
    const edited = Boolean(edit) && !edit.frozen;
    this.frozen.input.checked = lab.live ? lab.live.isFrozen(weight, filter) : Boolean(edit);
    this.frozen.input.disabled = lab.live ? lab.live.finished : edited; // an edit stays anyway
    this.sendButton.disabled = !edited || Boolean(lab.live?.finished);
    this.note.textContent = lab.live
      ? edited
        ? "This filter is yours, on this page only. Put it into the training, and Python goes on from it."
        : "Type a number or choose a known filter below to change it."
      : edited
        ? "This filter is yours, at every moment of the training."
        : "";
  }

  choose(changes) {
    Object.assign(this, changes);
    this.build();
  }

  // The weights of the filter as they are now: (C, KH, KW)
  get weights() {
    return this.lab.filterWeights(this.layer.convolution.weight, this.filter);
  }

  get shape() {
    return this.lab.network.weight(this.layer.convolution.weight).shape;
  }

  // Make the fields and options for the chosen filter.
  build() {
    const [F, C, KH, KW] = this.shape;
    const options = (n, chosen) =>
      Array.from({ length: n }, (_, i) => element("option", { value: i, selected: i === chosen }, i));
    replace(this.filters.input, ...options(F, this.filter));
    replace(this.channels.input, ...options(C, this.channel));
    this.channels.node.hidden = C === 1;
    this.grid.style.setProperty("--columns", KW);
    this.fields = Array.from({ length: KH * KW }, (_, i) => this.makeField(i, KW));
    replace(this.grid, ...this.fields);
    this.refresh();
  }

  makeField(i, KW) {
    const label = `row ${Math.floor(i / KW)}, column ${i % KW}`;
    return element("input", {
      type: "number",
      step: 0.1,
      "aria-label": `Weight at ${label}`,
      onchange: () => this.type(i),
    });
  }

  type(i) {
    const value = Number(this.fields[i].value);
    if (this.fields[i].value.trim() === "" || !Number.isFinite(value)) return this.refresh();
    const [, , KH, KW] = this.shape;
    const weights = this.weights.slice();
    weights[this.channel * KH * KW + i] = value;
    this.lab.edit(this.layer.convolution.weight, this.filter, weights);
  }

  makePresets() {
    return element(
      "div",
      { class: "buttons presets" },
      Object.keys(CLASSIC).map((name) => button(name, () => this.put(name), { "data-preset": name })),
    );
  }

  // Replace every channel of the filter by a known one with the length of the learned filter.
  put(name) {
    const [, C, KH, KW] = this.shape;
    const learned = this.lab.learned.weight(this.layer.convolution.weight);
    const each = C * KH * KW;
    const length = Math.hypot(...learned.data.subarray(this.filter * each, (this.filter + 1) * each)) || 1;
    const one = CLASSIC[name](KH, KW);
    const all = Float32Array.from({ length: each }, (_, i) => one[i % (KH * KW)]);
    this.lab.edit(this.layer.convolution.weight, this.filter, withLength(all, length));
  }

  reset() {
    this.lab.resetFilter(this.layer.convolution.weight, this.filter, this.layer.convolution.number);
  }

  makePictures() {
    this.before = element("canvas", { class: "map large", role: "img", "aria-label": "Map of the learned filter" });
    this.after = element("canvas", { class: "map large", role: "img", "aria-label": "Map of the filter as it is now" });
    return element(
      "div",
      { class: "pair" },
      figure("its map, as learned", this.before),
      element("span", { class: "arrow", "aria-hidden": "true" }, "→"),
      figure("its map now", this.after),
    );
  }

  refresh() {
    const [, , KH, KW] = this.shape;
    const weights = this.weights;
    const scale = largest(weights);
    this.fields.forEach((field, i) => {
      const value = weights[this.channel * KH * KW + i];
      const { background, dark } = colourOf(value, scale);
      field.value = Number.isFinite(value) ? decimals(value, 2).replace("−", "-") : "";
      field.placeholder = Number.isFinite(value) ? "" : String(value);
      field.style.background = background;
      field.style.color = dark ? "#fff" : "#222";
    });
    this.showFrozen();
    this.silent.input.checked = this.lab.isSilent(this.layer.convolution.number, this.filter);
    this.layers.input.value = String(this.layer.number);
    if (this.lab.values) this.draw();
    this.countLater();
  }

  draw() {
    const [, , H, W] = this.layer.shape;
    const now = this.lab.valueOf(this.layer);
    if (!now) return;
    const learned = this.lab.isChanged ? this.lab.learned.run(this.lab.input, this.lab.stored)[this.layer.value] : now;
    const scale = Math.max(largest(now.data), learned ? largest(learned.data) : 0);
    paintMap(this.before, learned ? plane(learned, this.filter) : new Float32Array(H * W), W, H, scale);
    paintMap(this.after, plane(now, this.filter), W, H, scale);
  }

  // ---- accuracy

  countLater() {
    clearTimeout(this.timer);
    const turn = (this.turn = {});
    this.timer = setTimeout(() => this.count(turn), DELAY);
  }

  async count(turn) {
    const { lab } = this;
    const stopped = () => this.turn !== turn;
    if (lab.live && !lab.live.paused) {
      this.score.textContent = "The accuracy is counted when the training pauses."; // counting would slow it
      return;
    }
    if (lab.live) this.base = null; // the learned filters have changed
    this.base ??= await countRight(lab.learned, lab.data, stopped);
    const found = this.base && (lab.isChanged ? await countRight(lab.network, lab.data, stopped) : this.base);
    if (!found || stopped()) return;
    lab.accuracy = { base: this.base, now: found };
    this.score.textContent = describeScore(lab, this.base, found);
    lab.emit("accuracy");
  }
}

function describeScore(lab, base, now) {
  const total = lab.data.images.shape[0];
  if (!lab.data.labels) {
    const same = now.answers.filter((answer, i) => answer === base.answers[i]).length;
    return `${same} of ${count(total, "answer")} are as with the learned filters.`;
  }
  const learned = `Right on ${percent(base.right / total)} of the ${count(total, "image")} in this page with the learned filters`;
  return lab.isChanged ? `${learned}, on ${percent(now.right / total)} now.` : `${learned}.`;
}
