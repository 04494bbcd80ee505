// The lab: the data, the network, what the user has chosen, and who wants to know when it changes.

import { storedOutputs } from "./check.js";
import { item } from "./data.js";
import { Network } from "./network.js";
import { softmaxOf } from "./operations/sums.js";
import { addNoise, findBackground, move, shuffle } from "./picture.js";
import { largest, makeTensor, size } from "./tensors.js";
import { isolated } from "./words.js";

const NO_CHANGE = { dx: 0, dy: 0, angle: 0, noise: 0, shuffled: false };

export class Lab {
  constructor(data) {
    this.data = data;
    this.shape = data.shape;
    this.background = findBackground(data.images, (x, c) => x * data.std[c] + data.mean[c]);
    this.network = new Network(data, data.weights);
    this.learned = new Network(data, data.weights);
    this.layers = data.layers.map((layer, number) => ({
      ...layer,
      number,
      label: isolated(layer.name), // its name inside other text
      ...this.describe(layer),
    }));
    this.convolutions = this.layers.filter((layer) => layer.convolution);
    this.listeners = new Map();
    this.state = {
      image: 0,
      drawing: null,
      ...NO_CHANGE,
      hidden: null,
      frame: null,
      lesson: 0,
      selection: this.firstSelection(),
      inPixels: false,
      rivals: null,
      editing: null,
    };
    this.edits = new Map(); // "name:filter" -> {name, filter, weights, frozen}; frozen: held, not edited
    this.demonstration = null; // what a lesson shows for a while, see demonstrate()
    this.changed = new Set();
  }

  // The shape of a layer's output; step and names of the weights of a convolution.
  describe({ first, value }) {
    const shape = this.data.steps[value - 1].shape;
    const number = this.data.steps.findIndex((step, i) => i >= first && i < value && step.op === "conv2d");
    const step = this.data.steps[number];
    const learned = step && !step.unknown && step.inputs[1] && "weight" in step.inputs[1];
    const isMap = shape.length === 4;
    const channels = isMap ? shape[1] : size(shape); // of a layer of plain numbers, every number is a channel of one pixel
    return { shape, isMap, channels, convolution: learned ? this.describeConvolution(step, number) : null };
  }

  describeConvolution(step, number) {
    return {
      step,
      number,
      shape: this.network.weight(step.inputs[1].weight).shape, // (F, C / groups, KH, KW)
      weight: step.inputs[1].weight,
      bias: step.inputs[2]?.weight ?? null,
      input: step.inputs[0].value,
    };
  }

  firstSelection() {
    const layer = this.convolutions?.[0] ?? this.layers.find((each) => each.isMap) ?? this.layers[0];
    const [H, W] = layer.isMap ? layer.shape.slice(2) : [1, 1];
    return { layer: layer.number, channel: 0, row: Math.floor(H / 2), col: Math.floor(W / 2) };
  }

  // ---- events

  // names: "values" new values; "selection"; "weights"; "picture"; "lesson"; "restored" a link was read; "live"; "state"
  // anything
  on(names, listener) {
    for (const name of names.split(" ")) this.listeners.set(name, [...(this.listeners.get(name) ?? []), listener]);
  }

  emit(name) {
    for (const listener of this.listeners.get(name) ?? []) listener();
    if (name !== "state") this.emit("state");
  }

  // Change the state; values are computed again before the next frame.
  set(changes, event = "picture") {
    Object.assign(this.state, changes);
    this.request(event);
  }

  request(event) {
    if (!this.changed.size) requestAnimationFrame(() => this.update());
    this.changed.add(event);
  }

  // Compute now what was requested.
  update() {
    const changed = this.changed;
    this.changed = new Set();
    if (changed.has("weights")) this.applyWeights();
    if (changed.has("picture") || changed.has("weights")) this.compute();
    for (const event of changed) this.emit(event);
  }

  select(changes) {
    this.set({ selection: this.limit({ ...this.state.selection, ...changes }) }, "selection");
  }

  // A selection inside of its layer.
  limit(selection) {
    const layer = this.layers[selection.layer];
    const [H, W] = layer.isMap ? layer.shape.slice(2) : [1, 1];
    selection.channel = Math.min(selection.channel, layer.channels - 1);
    selection.row = Math.max(0, Math.min(selection.row, H - 1));
    selection.col = Math.max(0, Math.min(selection.col, W - 1));
    return selection;
  }

  // ---- the picture

  // Pixels from 0 to 1 of an image of the page.
  imagePixels(i) {
    return this.toPixels(item(this.data.images, i));
  }

  toPixels(numbers) {
    const plane = this.shape[1] * this.shape[2];
    return numbers.map((x, i) => x * this.data.std[Math.floor(i / plane)] + this.data.mean[Math.floor(i / plane)]);
  }

  toNumbers(pixels) {
    const plane = this.shape[1] * this.shape[2];
    return pixels.map((x, i) => (x - this.data.mean[Math.floor(i / plane)]) / this.data.std[Math.floor(i / plane)]);
  }

  // The picture before it is changed.
  basePixels() {
    return this.state.drawing ?? this.imagePixels(this.state.image);
  }

  get untouched() {
    const { drawing, hidden } = this.state;
    return !drawing && !hidden && Object.entries(NO_CHANGE).every(([name, value]) => this.state[name] === value);
  }

  // The picture as the state changes it, before parts are hidden.
  changePixels(state = this.state) {
    const moved = addNoise(move(this.basePixels(), this.shape, state, this.background), state.noise);
    return state.shuffled ? shuffle(moved, this.shape) : moved;
  }

  hide(pixels) {
    const { hidden } = this.state;
    const plane = this.shape[1] * this.shape[2];
    return hidden
      ? pixels.map((pixel, i) => (hidden[i % plane] ? this.background[Math.floor(i / plane)] : pixel))
      : pixels;
  }

  resetChanges() {
    this.set({ ...NO_CHANGE, hidden: null });
  }

  // ---- the network

  compute() {
    const { image } = this.state;
    this.seen = this.changePixels();
    this.pixels = this.hide(this.seen);
    // an image that nobody changed is read as Python reads it, without rounding
    const numbers = this.untouched ? item(this.data.images, image) : this.toNumbers(this.pixels);
    this.input = this.network.asImage(numbers);
    this.stored = storedOutputs(this.network, this.untouched ? image : null);
    this.values = this.network.run(this.input, this.stored);
    this.emit("values");
  }

  // The probabilities of the picture with other changes, or null.
  probabilitiesWith(changes) {
    const scores = this.scoresOf(this.hide(this.changePixels({ ...this.state, ...changes })));
    return scores && this.toProbabilities(scores);
  }

  // The scores of any pixels with the present weights, or null.
  scoresOf(pixels) {
    return this.network.scores(this.network.asImage(this.toNumbers(pixels)));
  }

  valueOf(layer) {
    return this.values[layer.value];
  }

  // What an input of a step stands for: a tensor, a number or null; undefined if it was not computed.
  operand(input) {
    return this.network.operand(input, this.values);
  }

  // What a layer of a convolution reads.
  inputOf(convolution) {
    return this.values[convolution.input];
  }

  // The shape (C, H, W) of what a convolution reads.
  inputShape({ input }) {
    return input ? this.data.steps[input - 1].shape.slice(1) : this.shape;
  }

  get scores() {
    return this.values[this.network.result]?.data ?? null;
  }

  // Why there is no answer for the picture, or null.
  get noAnswer() {
    const { scores } = this;
    if (!scores) return "A layer is unknown to this page.";
    return this.probabilities.some((p) => p !== p) ? "The scores are NaN." : null;
  }

  get probabilities() {
    return this.scores && this.toProbabilities(this.scores);
  }

  toProbabilities(scores) {
    const last = this.data.steps[this.network.result - 1].op;
    return last === "softmax" ? Array.from(scores) : softmaxOf(scores);
  }

  // The place in memory of a pixel of a layer.
  indexOf(layer, { channel, row, col }) {
    return layer.isMap ? (channel * layer.shape[2] + row) * layer.shape[3] + col : channel;
  }

  scaleOf(layer) {
    const value = this.valueOf(layer);
    return value ? largest(value.data) : 0;
  }

  className(i) {
    return this.data.classes[i];
  }

  // The name of a class inside other text.
  classLabel(i) {
    return isolated(this.data.classes[i]);
  }

  // ---- weights

  // Put a moment of the tape and the edits in place of the learned weights.
  applyWeights() {
    this.network.replaced.clear();
    if (this.state.frame !== null) this.applyFrame(this.state.frame);
    for (const { name, filter, weights } of this.edits.values()) {
      const current = this.network.weight(name);
      const copy = makeTensor(current.shape, current.data.slice());
      copy.data.set(weights, filter * weights.length);
      this.network.replaced.set(name, copy);
    }
  }

  applyFrame(frame) {
    for (const [layer, frames] of this.data.tape.weights) {
      const name = `${layer}.weight`;
      if (this.network.weights.has(name)) {
        this.network.replaced.set(name, makeTensor(frames.shape.slice(1), item(frames, frame)));
      }
    }
  }

  filterWeights(name, filter) {
    return item(this.network.weight(name), filter);
  }

  edit(name, filter, weights) {
    this.edits.set(`${name}:${filter}`, { name, filter, weights: Float32Array.from(weights), frozen: false });
    this.request("weights");
  }

  editOf(name, filter) {
    return this.edits.get(`${name}:${filter}`);
  }

  // Hold a filter as it is now while the tape is scrubbed, as an edit that changes nothing; or let it go.
  freeze(name, filter, frozen) {
    const weights = this.filterWeights(name, filter).slice();
    if (frozen) this.edits.set(`${name}:${filter}`, { name, filter, weights, frozen });
    else this.edits.delete(`${name}:${filter}`);
    this.request("weights");
  }

  // Forget an edit, because the training has it now.
  forget(name, filter) {
    this.edits.delete(`${name}:${filter}`);
    this.request("weights");
  }

  resetFilter(name, filter, number) {
    this.edits.delete(`${name}:${filter}`);
    this.silence(number, filter, false);
  }

  silence(number, filter, quiet) {
    const channels = this.network.silenced.get(number) ?? new Set();
    if (quiet) channels.add(filter);
    else channels.delete(filter);
    this.network.silenced.set(number, channels);
    this.request("weights");
  }

  isSilent(number, filter) {
    return this.network.silenced.get(number)?.has(filter) ?? false;
  }

  resetWeights() {
    this.edits.clear();
    this.network.silenced.clear();
    this.set({ frame: null }, "weights");
  }

  // ---- what a lesson shows for a while

  // state   changes of the state
  // edit    {name, filter, weights, number}: a filter in place of another one, which speaks if it was silenced; or null
  demonstrate({ state = {}, edit = null }) {
    this.endDemonstration();
    this.demonstration = { before: this.own(), state, edit: null };
    if (edit) {
      const { name, filter, weights, number } = edit;
      this.silence(number, filter, false);
      this.edit(name, filter, weights);
      this.demonstration.edit = { key: `${name}:${filter}`, number, filter, during: this.editOf(name, filter) };
    }
    this.restore(state);
  }

  // Put back what the reader had.  What was changed since then stays.
  endDemonstration() {
    if (!this.demonstration) return;
    const { state, edits, silenced } = this.own();
    this.demonstration = null;
    this.edits = edits;
    this.network.silenced = silenced;
    this.restore(state);
  }

  restore(state) {
    Object.assign(this.state, state);
    for (const event of ["picture", "weights", "selection"]) this.request(event);
  }

  // The choices of the reader, without what a lesson shows.
  own() {
    const state = { ...this.state };
    const edits = new Map(this.edits);
    const silenced = new Map([...this.network.silenced].map(([number, channels]) => [number, new Set(channels)]));
    if (this.demonstration) this.takeBack(this.demonstration, state, edits, silenced);
    return { state, edits, silenced };
  }

  takeBack({ before, state: during, edit }, state, edits, silenced) {
    for (const name of Object.keys(during)) if (state[name] === during[name]) state[name] = before.state[name];
    if (!edit || edits.get(edit.key) !== edit.during) return;
    if (before.edits.has(edit.key)) edits.set(edit.key, before.edits.get(edit.key));
    else edits.delete(edit.key);
    if (!before.silenced.get(edit.number)?.has(edit.filter)) return;
    silenced.set(edit.number, (silenced.get(edit.number) ?? new Set()).add(edit.filter));
  }

  get isChanged() {
    const silent = [...this.network.silenced.values()].some((channels) => channels.size);
    return this.edits.size > 0 || silent || this.state.frame !== null;
  }
}
