// Operations that add up: dense layers, matrix products, means, normalisation, softmax, resizing.

import { makeTensor, places, size, strides } from "../tensors.js";
import { operation } from "./registry.js";

export function linear([x, weight, bias], settings, shape) {
  const [outputs, inputs] = weight.shape;
  const out = makeTensor(shape);
  const rows = x.data.length / inputs;
  for (let row = 0; row < rows; row++) {
    const from = row * inputs;
    for (let o = 0; o < outputs; o++) {
      let sum = bias ? bias.data[o] : 0;
      const first = o * inputs;
      for (let i = 0; i < inputs; i++) sum += weight.data[first + i] * x.data[from + i];
      out.data[row * outputs + o] = sum;
    }
  }
  return out;
}

// The product of the last two axes; the axes before them are equal, or 1 for all.
function matmul([a, b], settings, shape) {
  const [M, N] = shape.slice(-2);
  const K = a.shape[a.shape.length - 1];
  const out = makeTensor(shape);
  const many = size(shape.slice(0, -2));
  const repeatA = size(a.shape.slice(0, -2)) === 1;
  const repeatB = size(b.shape.slice(0, -2)) === 1;
  for (let n = 0; n < many; n++) {
    const fromA = repeatA ? 0 : n * M * K;
    const fromB = repeatB ? 0 : n * K * N;
    multiply(a.data, fromA, b.data, fromB, out.data, n * M * N, [M, K, N]);
  }
  return out;
}

function multiply(a, fromA, b, fromB, out, to, [M, K, N]) {
  for (let m = 0; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += a[fromA + m * K + k] * b[fromB + k * N + n];
      out[to + m * N + n] = sum;
    }
  }
}

// The places of the first elements along `axes`, and those of the others relative to them.
export function split(shape, axes) {
  const steps = strides(shape);
  const kept = shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  const select = (chosen) =>
    places(
      chosen.map((axis) => shape[axis]),
      chosen.map((axis) => steps[axis]),
    );
  return { outer: select(kept), inner: select(axes) };
}

export function axesOf(settings, shape) {
  return settings.axes ?? shape.map((_, axis) => axis);
}

function reduction(start, join, finish) {
  return ([x], settings, shape) => {
    const { outer, inner } = split(x.shape, axesOf(settings, x.shape));
    const out = makeTensor(shape);
    for (let i = 0; i < outer.length; i++) {
      let sum = start;
      for (let j = 0; j < inner.length; j++) sum = join(sum, x.data[outer[i] + inner[j]]);
      out.data[i] = finish(sum, inner.length);
    }
    return out;
  };
}

export function momentsOf(x, group, inner) {
  let sum = 0;
  let squares = 0;
  for (let j = 0; j < inner.length; j++) sum += x[group + inner[j]];
  const mean = sum / inner.length;
  for (let j = 0; j < inner.length; j++) squares += (x[group + inner[j]] - mean) ** 2;
  return { mean, variance: squares / inner.length };
}

// The number in the weights that belongs to each element of x.
export function weightIndices(shape, axes) {
  const steps = new Array(shape.length).fill(0);
  for (let i = axes.length - 1, step = 1; i >= 0; i--) {
    steps[axes[i]] = step;
    step *= shape[axes[i]];
  }
  return places(shape, steps);
}

// A trained batch norm: one factor and one term for each channel.
function normChannels([x, mean, variance, weight, bias], { eps }) {
  const [, C] = x.shape;
  const each = x.data.length / C;
  const out = makeTensor(x.shape);
  for (let c = 0; c < C; c++) {
    const factor = (weight ? weight.data[c] : 1) / Math.sqrt(variance.data[c] + eps);
    const term = (bias ? bias.data[c] : 0) - mean.data[c] * factor;
    for (let i = c * each; i < (c + 1) * each; i++) out.data[i] = x.data[i] * factor + term;
  }
  return out;
}

// (x - mean) / sqrt(variance + eps) * weight + bias; the statistics are given, as in a trained batch norm, or those of x.
export function norm(inputs, settings) {
  const [x, mean, variance, weight, bias] = inputs;
  const ofChannels = settings.statistics === "given" && String(settings.weight_axes) === "1" && x.shape[0] === 1;
  if (ofChannels) return normChannels(inputs, settings);
  const { outer, inner } = split(x.shape, settings.axes);
  const index = weightIndices(x.shape, settings.weight_axes);
  const out = makeTensor(x.shape);
  for (const group of outer) {
    const found = settings.statistics === "given" ? null : momentsOf(x.data, group, inner);
    for (let j = 0; j < inner.length; j++) {
      const place = group + inner[j];
      const w = index[place];
      const middle = found ? found.mean : mean.data[w];
      const spread = Math.sqrt((found ? found.variance : variance.data[w]) + settings.eps);
      const scaled = ((x.data[place] - middle) / spread) * (weight ? weight.data[w] : 1);
      out.data[place] = scaled + (bias ? bias.data[w] : 0);
    }
  }
  return out;
}

export function softmaxOf(scores) {
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Array.from(scores, (score) => Math.exp(score - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

function alongAxis(change) {
  return ([x], { axis }) => {
    const { outer, inner } = split(x.shape, [axis < 0 ? axis + x.shape.length : axis]);
    const out = makeTensor(x.shape);
    for (const first of outer) {
      change(Array.from(inner, (step) => x.data[first + step])).forEach((value, j) => {
        out.data[first + inner[j]] = value;
      });
    }
    return out;
  };
}

// Multiply by a matrix (out, in) along one axis, as when a map is resized.
function axisSums([x, matrix], { axis }, shape) {
  const { outer, inner } = split(x.shape, [axis]);
  const target = split(shape, [axis]);
  const [rows, cols] = matrix.shape;
  const out = makeTensor(shape);
  for (let i = 0; i < outer.length; i++) {
    for (let r = 0; r < rows; r++) {
      let sum = 0;
      for (let c = 0; c < cols; c++) sum += matrix.data[r * cols + c] * x.data[outer[i] + inner[c]];
      out.data[target.outer[i] + target.inner[r]] = sum;
    }
  }
  return out;
}

operation("linear", linear);
operation("matmul", matmul);
operation("norm", norm);
operation("axis_sums", axisSums);
operation(
  "mean",
  reduction(
    0,
    (a, b) => a + b,
    (sum, n) => sum / n,
  ),
);
operation(
  "sum",
  reduction(
    0,
    (a, b) => a + b,
    (sum) => sum,
  ),
);
operation(
  "amax",
  reduction(-Infinity, Math.max, (most) => most),
);
operation(
  "amin",
  reduction(Infinity, Math.min, (least) => least),
);
operation("softmax", alongAxis(softmaxOf));
operation(
  "log_softmax",
  alongAxis((scores) => softmaxOf(scores).map(Math.log)),
);
