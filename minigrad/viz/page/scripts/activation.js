// The first activation after a convolution, as a function of one number.

import { computeOne } from "./explanations.js";
import { asNumber, isElementwise } from "./operations/registry.js";
import { isolated } from "./words.js";

const UNKNOWN = ["where", "le", "lt", "ge", "gt", "sign", "round", "floor", "ceil"]; // of activations such as Threshold

// {name, apply}; apply is null if the page cannot compute it.  null if no activation follows.  name is PyTorch's.
export function findActivation(lab, convolution) {
  const after = valuesAfter(lab.data.steps, convolution.number);
  for (const layer of lab.layers) {
    const first = Math.max(layer.first, convolution.number + 1);
    if (first >= layer.value || !after.has(layer.value)) continue;
    const steps = lab.data.steps.slice(first, layer.value);
    const name = isolated(layer.kind);
    if (steps.some(({ unknown, op }) => unknown && UNKNOWN.includes(op))) return { name, apply: null };
    const apply = (x) => applySteps(lab, first, layer.value, x);
    const alone = steps.every(({ unknown, op }) => !unknown && isElementwise(op)) && apply(0) !== null;
    if (alone && (layer.kind === "PReLU" || !isAffine(apply))) return { name, apply };
  }
  return null;
}

// The numbers of the values that depend on the output of a step.
function valuesAfter(steps, number) {
  const after = new Set([number + 1]);
  steps.forEach((step, i) => {
    if (i > number && (step.unknown || step.inputs.some((input) => after.has(input?.value)))) after.add(i + 1);
  });
  return after;
}

// What steps that work on each element alone make of a number; null if they read more than one value.
function applySteps(lab, first, end, x) {
  const found = new Map();
  let source;
  for (let number = first; number < end; number++) {
    const step = lab.data.steps[number];
    for (const { value } of step.inputs.filter((input) => input?.value !== undefined && !found.has(input.value))) {
      if ((source ??= value) !== value) return null;
    }
    const operands = step.inputs.map((input) => {
      if (input === null || typeof input !== "object") return input === null ? null : asNumber(input);
      return "value" in input ? (found.get(input.value) ?? x) : lab.network.weight(input.weight).data[0];
    });
    found.set(number + 1, computeOne(step, operands));
  }
  return found.get(end);
}

// Whether a function only scales and shifts, so far as five points tell.
function isAffine(apply) {
  const [a, b, c, d, e] = [-8, -4, 0, 4, 8].map(apply);
  return [a + c - 2 * b, b + d - 2 * c, c + e - 2 * d].every((bend) => Math.abs(bend) < 1e-5);
}
