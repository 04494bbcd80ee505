// Operations on each element: activations, and arithmetic of tensors that broadcast.

import { broadcastShape, broadcastStrides, makeTensor, places, size } from "../tensors.js";
import { asNumber, operation } from "./registry.js";

function unary(formula) {
  return elementwise(([x], settings) => {
    const out = makeTensor(x.shape);
    for (let i = 0; i < x.data.length; i++) out.data[i] = formula(x.data[i], settings);
    return out;
  });
}

function elementwise(compute) {
  return Object.assign(compute, { elementwise: true });
}

function asTensor(x) {
  return typeof x === "object" ? x : makeTensor([], new Float64Array([asNumber(x)]));
}

function binary(formula) {
  return elementwise((inputs) => {
    const [a, b] = inputs.map(asTensor);
    const shape = broadcastShape(a.shape, b.shape);
    if (size(shape) === a.data.length && b.data.length === 1) return combine(shape, a.data, () => b.data[0], formula);
    if (String(a.shape) === String(b.shape)) return combine(shape, a.data, (i) => b.data[i], formula);
    const fromA = places(shape, broadcastStrides(a.shape, shape));
    const fromB = places(shape, broadcastStrides(b.shape, shape));
    const out = makeTensor(shape);
    for (let i = 0; i < out.data.length; i++) out.data[i] = formula(a.data[fromA[i]], b.data[fromB[i]]);
    return out;
  });
}

// The quick way for operands of one shape, and for a number.
function combine(shape, a, second, formula) {
  const out = makeTensor(shape);
  for (let i = 0; i < a.length; i++) out.data[i] = formula(a[i], second(i));
  return out;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const clamp = (x, low, high) => (x !== x ? x : Math.min(Math.max(x, asNumber(low)), asNumber(high)));

// The error function.  The series converges fast near 0, the continued fraction far from it.
function erf(x) {
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  return z < 2.5 ? erfSeries(x) : Math.sign(x) * (1 - erfcFraction(z));
}

function erfSeries(x) {
  let term = x;
  let sum = x;
  for (let n = 1; n < 60; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

function erfcFraction(z) {
  let rest = z;
  for (let n = 40; n > 0; n--) rest = z + n / 2 / rest;
  return Math.exp(-z * z) / (Math.sqrt(Math.PI) * rest);
}

operation(
  "relu",
  unary((x) => (x > 0 || x !== x ? x : 0)),
);
operation(
  "leaky_relu",
  unary((x, { negative_slope }) => (x > 0 ? x : negative_slope * x)),
);
operation(
  "hardtanh",
  unary((x, { low, high }) => clamp(x, low, high)),
);
operation("sigmoid", unary(sigmoid));
operation("tanh", unary(Math.tanh));
operation(
  "silu",
  unary((x) => x * sigmoid(x)),
);
operation(
  "hardswish",
  unary((x) => (x * clamp(x + 3, 0, 6)) / 6),
);
operation(
  "mish",
  unary((x) => x * Math.tanh(softplus(x))),
);
operation(
  "gelu",
  unary((x) => (x / 2) * (1 + erf(x / Math.SQRT2))),
);
operation(
  "gelu_tanh",
  unary((x) => (x / 2) * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))),
);
operation(
  "softsign",
  unary((x) => x / (1 + Math.abs(x))),
);
operation(
  "softplus",
  unary((x, { beta, threshold }) => (x * beta > threshold ? x : softplus(x * beta) / beta)),
);
operation(
  "elu",
  unary((x, { alpha, scale, steepness }) => (x < 0 ? alpha * scale * Math.expm1(x * steepness) : x * scale)),
);
operation("erf", unary(erf));
operation("exp", unary(Math.exp));
operation("log", unary(Math.log));
operation("sqrt", unary(Math.sqrt));
operation("abs", unary(Math.abs));
operation(
  "neg",
  unary((x) => -x),
);
operation("sin", unary(Math.sin));
operation("cos", unary(Math.cos));

operation(
  "add",
  binary((a, b) => a + b),
);
operation(
  "sub",
  binary((a, b) => a - b),
);
operation(
  "mul",
  binary((a, b) => a * b),
);
operation(
  "div",
  binary((a, b) => a / b),
);
operation(
  "pow",
  binary((a, b) => a ** b),
);
operation(
  "maximum",
  binary((a, b) => Math.max(a, b)),
);
operation(
  "minimum",
  binary((a, b) => Math.min(a, b)),
);
operation(
  "prelu",
  binary((x, slope) => (x > 0 ? x : slope * x)),
);

operation(
  "clip",
  elementwise(([x, low, high]) => unary((value) => clamp(value, low ?? -Infinity, high ?? Infinity))([x], {})),
);
