// The network: a list of steps on values, with weights that the page may replace for a while.

import { findOperation } from "./operations/registry.js";
import "./operations/elementwise.js";
import "./operations/movement.js";
import "./operations/sums.js";
import "./operations/windows.js";
import { makeTensor } from "./tensors.js";

export class Network {
  // data     what Python wrote: shape, steps, layers, result
  // weights  name -> tensor
  constructor(data, weights) {
    this.steps = data.steps;
    this.layers = data.layers;
    this.result = data.result;
    this.shape = data.shape;
    this.weights = weights;
    this.replaced = new Map(); // name -> tensor: edited filters, a moment of the training
    this.silenced = new Map(); // number of a step -> set of channels whose output is 0
  }

  weight(name) {
    return this.replaced.get(name) ?? this.weights.get(name);
  }

  // Compute all values for an image (1, C, H, W).  stored(number of a step) gives what Python computed for a step that
  // the page cannot compute, or null; values that depend on it are null.
  run(image, stored = () => null) {
    const values = [image];
    this.steps.forEach((step, number) => values.push(this.compute(step, number, values, stored)));
    return values;
  }

  compute(step, number, values, stored) {
    if (step.unknown) return stored(number);
    const inputs = step.inputs.map((input) => this.operand(input, values));
    if (inputs.some((input) => input === undefined)) return null;
    const out = findOperation(step.op)(inputs, step.settings, step.shape);
    return this.silence(out, this.silenced.get(number));
  }

  // undefined where the operand depends on a step that was not computed
  operand(input, values) {
    if (input === null || typeof input !== "object") return input;
    return "value" in input ? (values[input.value] ?? undefined) : this.weight(input.weight);
  }

  silence(out, channels) {
    if (!channels || !channels.size) return out;
    const each = out.data.length / out.shape[1];
    for (const channel of channels) out.data.fill(0, channel * each, (channel + 1) * each);
    return out;
  }

  // The scores of an image, or null.
  scores(image, stored) {
    return this.run(image, stored)[this.result]?.data ?? null;
  }

  asImage(pixels) {
    return makeTensor([1, ...this.shape], pixels);
  }
}
