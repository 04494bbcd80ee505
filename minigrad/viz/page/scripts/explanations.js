// What one value of a layer is made of, for every kind of layer.  explain() returns
//   summary    what the layer does, in words
//   reads      {value, channel, rows, cols, pads, framed}: number of the value that the layer reads, the window in it,
//              [first, end), padding, and what the window is, in words; or null
//   channels   input channels to choose from, of a convolution; [] else
//   units      whether the numbers can be shown as pixels from 0 to 255
//   parts      tables {caption, values, inside, shape: [KH, KW], places, mark}, and signs between them
//   lines      [text or nodes, number or null, class] of the list below

import { explainPixel, inPixelValues } from "./arithmetic.js";
import { windowAt } from "./fields.js";
import { asNumber, findOperation } from "./operations/registry.js";
import { axesOf, momentsOf, split, weightIndices } from "./operations/sums.js";
import { span } from "./operations/windows.js";
import { broadcastShape, broadcastStrides, makeTensor, places, size, strides } from "./tensors.js";
import { count, isolated, meaning, nameOfStep, number, sizes } from "./words.js";

const MOST_TERMS = 8; // products of a dense layer that are listed
const SIGNS = { add: "+", sub: "−", mul: "×", div: "÷", pow: "to the power of" };

const EXPLANATIONS = {
  conv2d: explainConvolution,
  max_pool2d: explainPooling,
  avg_pool2d: explainPooling,
  linear: explainDense,
  norm: explainNorm,
  softmax: explainSoftmax,
  log_softmax: explainSoftmax,
  mean: explainReduction,
  sum: explainReduction,
  amax: explainReduction,
  amin: explainReduction,
  reshape: explainReshape,
  pad: explainPad,
};
const NOT_BY_ELEMENT = ["matmul", "axis_sums", "cat", "index", "permute", "expand"];

// pixel: {channel, row, col} of the layer's output.  options: {channel: input channel to show or null, inPixels}
export function explain(lab, layer, pixel, options) {
  const step = layer.convolution?.step ?? lab.data.steps[layer.value - 1];
  if (!lab.valueOf(layer) || step.unknown || step.inputs.some((input) => input && lab.operand(input) === undefined))
    return null;
  const index = lab.indexOf(layer, pixel);
  const given = { lab, layer, step, pixel, index, out: lab.valueOf(layer).data[index], options };
  const found = layer.convolution ? explainConvolution(given) : chooseExplanation(step)(given);
  return { summary: meaning(step, lab.data.weights), channels: [], units: false, parts: [], reads: null, ...found };
}

function chooseExplanation(step) {
  if (step.op !== "conv2d" && EXPLANATIONS[step.op]) return EXPLANATIONS[step.op];
  return step.op === "conv2d" || NOT_BY_ELEMENT.includes(step.op) ? explainNothing : explainElement;
}

// What a step reads first: the number of a value, and the pixel at a place of it.
function readsPixel({ lab, step }, index) {
  const value = step.inputs[0].value;
  const { shape } = lab.values[value];
  const [H, W] = shape.length === 4 ? shape.slice(2) : [1, size(shape)];
  const [channel, rest] = [Math.floor(index / (H * W)), index % (H * W)];
  const [row, col] = [Math.floor(rest / W), rest % W];
  return { value, channel, rows: [row, row + 1], cols: [col, col + 1], framed: "the number that counts here" };
}

// ---- convolution

function explainConvolution({ lab, layer, pixel, options }) {
  const normal = explainPixel(lab, layer, pixel.channel, pixel.row, pixel.col);
  const inPixels = options.inPixels && normal.readsPicture;
  const found = inPixels ? inPixelValues(lab, normal) : normal;
  const strongest = normal.channels.reduce(
    (best, c, i, all) => (Math.abs(c.sum) > Math.abs(all[best].sum) ? i : best),
    0,
  );
  const shown = options.channel !== null && options.channel < normal.channels.length ? options.channel : strongest;
  return {
    summary: "Each pixel of the window is multiplied by the weight at the same place of the filter. All products are added up.",
    reads: {
      value: layer.convolution.input,
      channel: normal.channels[shown].channel,
      rows: [normal.rows[0], normal.rows.at(-1) + 1],
      cols: [normal.cols[0], normal.cols.at(-1) + 1],
      pads: layer.convolution.step.settings.pads,
    },
    channels: normal.channels.map((c) => c.channel),
    units: normal.readsPicture,
    parts: convolutionTables(found, found.channels[shown], inPixels),
    lines: convolutionLines(found, found.channels[shown]),
  };
}

function convolutionTables({ window, channels }, { channel, patch, inside, filter, products }, inPixels) {
  const places = inPixels ? [0, 4, 2] : [2, 2, 2];
  const of = channels.length > 1 ? `, channel ${channel}` : "";
  return [
    { caption: `${inPixels ? "pixels" : "window"}${of}`, values: patch, inside, shape: window, places: places[0] },
    "×",
    { caption: "filter", values: filter, shape: window, places: places[1] },
    "=",
    { caption: "products", values: products, shape: window, places: places[2] },
  ];
}

function convolutionLines({ window, channels, sum, constant, bias, silent, value }, one) {
  const many = channels.length > 1;
  const KK = window[0] * window[1];
  const lines = [[`Sum of the ${KK} products${many ? ` of channel ${one.channel}` : ""}`, one.sum]];
  if (many) lines.push([`Sum over all ${channels.length} input channels`, sum]);
  if (constant !== undefined)
    lines.push(["Constant, because pixels are normalised: −(filter × mean ÷ std)", constant]);
  if (bias !== null) lines.push(["Bias", bias]);
  return [...lines, [silent ? "The filter is silenced: the pixel is" : "Together: the pixel is", value, "total"]];
}

// ---- pooling

function explainPooling({ lab, step, pixel }) {
  const { window, pads } = step.settings;
  const value = step.inputs[0].value;
  const [, , H, W] = lab.values[value].shape;
  const { rows, cols } = windowAt(step, window, pixel.row, pixel.col);
  const [values, inside] = [[], []];
  for (const h of rows) {
    for (const w of cols) {
      inside.push(h >= 0 && h < H && w >= 0 && w < W);
      values.push(inside.at(-1) ? lab.values[value].data[(pixel.channel * H + h) * W + w] : 0);
    }
  }
  const isMax = step.op === "max_pool2d";
  const mark = isMax ? placeOfLargest(values, inside) : null;
  return {
    reads: {
      value,
      channel: pixel.channel,
      rows: [rows[0], rows.at(-1) + 1],
      cols: [cols[0], cols.at(-1) + 1],
      pads,
    },
    parts: [{ caption: "window", values, inside, shape: window, places: 3, mark }],
    lines: isMax ? maxLines({ values, inside, mark, rows, cols }) : meanLines(step, pixel, [H, W], values),
  };
}

// As max_pool2d chooses: the first of equal values, and NaN before all others; -1 if no place is inside.
function placeOfLargest(values, inside) {
  return values.reduce((best, x, i) => {
    if (!inside[i]) return best;
    return best < 0 || x > values[best] || (x !== x && values[best] === values[best]) ? i : best;
  }, -1);
}

function maxLines({ values, inside, mark, rows, cols }) {
  const [row, col] = [rows[Math.floor(mark / cols.length)], cols[mark % cols.length]];
  const where = mark < 0 ? "" : ` It stands in row ${row}, column ${col}.`;
  const n = inside.filter(Boolean).length;
  const text = `The largest of the ${count(n, "value")} is kept, the others are dropped.${where}`;
  return [[text, mark < 0 ? -Infinity : values[mark], "total"]];
}

function meanLines({ settings }, { row, col }, [H, W], values) {
  const { window, stride, pads, count_include_pad, divisor } = settings;
  const rows = span(row, stride[0], pads[0], window[0], H, pads[1]);
  const cols = span(col, stride[1], pads[2], window[1], W, pads[3]);
  const inside = (rows.end - rows.start) * (cols.end - cols.start);
  const n = divisor ?? (count_include_pad ? rows.padded * cols.padded : inside);
  const sum = values.reduce((a, b) => a + b, 0);
  return [
    [`Sum of the ${count(inside, "value")}`, sum],
    ["Divided by", n],
    ["Together: the mean is", sum / n, "total"],
  ];
}

// ---- dense layers

function explainDense(given) {
  const { lab, step, index } = given;
  const [x, weight, bias] = step.inputs.map((input) => lab.operand(input));
  const [outputs, inputs] = weight.shape;
  const [from, first] = [Math.floor(index / outputs) * inputs, (index % outputs) * inputs];
  const terms = Array.from({ length: inputs }, (_, i) => {
    const [input, factor] = [x.data[from + i], weight.data[first + i]];
    return { i: from + i, input, factor, product: input * factor };
  });
  const order = [...terms].sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  const [listed, others] = [order.slice(0, MOST_TERMS), order.slice(MOST_TERMS)];
  const value = step.inputs[0].value;
  const total = (some) => some.reduce((sum, { product }) => sum + product, 0);
  const lines = [[`Sum of these ${listed.length} products`, total(listed)]];
  if (others.length) lines.push([`Sum of the other ${count(others.length, "product")}`, total(others)]);
  const added = bias ? bias.data[index % outputs] : 0;
  if (bias) lines.push(["Bias", added]);
  return {
    summary: `Each of the ${count(inputs, "number")} that it reads is multiplied by a weight of its own. The strongest:`,
    reads: { ...readsPixel(given, listed[0].i), framed: "the number of the strongest product" },
    parts: [{ terms: listed.map((term) => ({ ...term, name: nameOf(lab, value, term.i) })) }],
    lines: [...lines, ["Together: the number is", total(terms) + added, "total"]],
  };
}

// Where element number i of a value comes from: the pixel of a map that was put into a row, or its number.
function nameOf(lab, value, i) {
  let number = value;
  while (number && lab.data.steps[number - 1].op === "reshape") number = lab.data.steps[number - 1].inputs[0].value;
  const layer = lab.layers.find((each) => each.value === number);
  const { shape } = lab.values[number];
  if (shape.length !== 4 || shape[2] * shape[3] === 1) return layer ? `${layer.label}, number ${i}` : `number ${i}`;
  const [, , H, W] = shape;
  const place = `row ${Math.floor(i / W) % H}, column ${i % W}`;
  return `${layer ? `${layer.label}, ` : ""}channel ${Math.floor(i / (H * W))}, ${place}`;
}

// ---- normalisation

function explainNorm(given) {
  const { lab, step, index } = given;
  const [x, mean, variance, weight, bias] = step.inputs.map((input) => lab.operand(input));
  const w = weightIndices(x.shape, step.settings.weight_axes)[index];
  const trained = step.settings.statistics === "given";
  const found = trained
    ? { mean: mean.data[w], variance: variance.data[w] }
    : momentsAround(x, step.settings.axes, index);
  const spread = Math.sqrt(found.variance + step.settings.eps);
  const of = trained ? "that the training found" : "of this picture's values";
  const lines = [
    ["It reads", x.data[index]],
    [`minus the mean ${of}`, found.mean],
    [`divided by the standard deviation ${of}`, spread],
  ];
  if (weight) lines.push(["times the layer's weight", weight.data[w]]);
  if (bias) lines.push(["plus the layer's bias", bias.data[w]]);
  const scaled = ((x.data[index] - found.mean) / spread) * (weight ? weight.data[w] : 1);
  const total = scaled + (bias ? bias.data[w] : 0);
  return { reads: readsPixel(given, index), lines: [...lines, ["Together: it writes", total, "total"]] };
}

// Mean and variance of the values that are normalised together with element number `index`.
function momentsAround(x, axes, index) {
  const { outer, inner } = split(x.shape, axes);
  return momentsOf(x.data, groupOf(outer, inner, index), inner);
}

function groupOf(outer, inner, index) {
  const steps = new Set(inner);
  return outer.find((first) => steps.has(index - first));
}

// ---- sums over many values

function explainReduction(given) {
  const { lab, step, index } = given;
  const x = lab.values[step.inputs[0].value];
  const { outer, inner } = split(x.shape, axesOf(step.settings, x.shape));
  const values = Array.from(inner, (i) => x.data[outer[index] + i]);
  if (["amax", "amin"].includes(step.op)) {
    const word = step.op === "amax" ? "largest" : "smallest";
    const beats = (a, b) => (step.op === "amax" ? a > b : a < b);
    const most = values.reduce((best, each, i) => (beats(each, values[best]) ? i : best), 0);
    const reads = { ...readsPixel(given, outer[index] + inner[most]), framed: `the ${word}` };
    return { reads, lines: [[`The ${word} of ${count(values.length, "value")}`, values[most], "total"]] };
  }
  const reads = { ...readsPixel(given, outer[index]), framed: "all that is added" };
  const whole = x.shape.length === 4 ? { rows: [0, x.shape[2]], cols: [0, x.shape[3]] } : {};
  const sum = values.reduce((a, b) => a + b, 0);
  const lines = [[`Sum of ${count(values.length, "value")}`, sum]];
  const n = step.op === "mean" ? values.length : 1;
  if (step.op === "mean") lines.push(["Divided by their number", n]);
  return { reads: { ...reads, ...whole }, lines: [...lines, ["Together: it writes", sum / n, "total"]] };
}

function explainSoftmax(given) {
  const { lab, step, index } = given;
  const x = lab.operand(step.inputs[0]);
  const axis = (step.settings.axis + x.shape.length) % x.shape.length;
  const { outer, inner } = split(x.shape, [axis]);
  const first = groupOf(outer, inner, index);
  const scores = Array.from(inner, (i) => x.data[first + i]);
  const most = Math.max(...scores);
  const sum = scores.reduce((total, score) => total + Math.exp(score - most), 0);
  const power = Math.exp(x.data[index] - most);
  const last =
    step.op === "softmax"
      ? ["Together: the probability is", power / sum, "total"]
      : ["The logarithm of the quotient, of the probability, is", Math.log(power / sum), "total"];
  return {
    reads: readsPixel(given, index),
    lines: [
      ["The score that it reads", x.data[index]],
      [`e to the power of (score − the largest score, ${number(most)})`, power],
      [`Divided by the sum of these powers of all ${count(scores.length, "score")}`, sum],
      last,
    ],
  };
}

function explainReshape(given) {
  const { lab, step, index } = given;
  const { value } = step.inputs[0];
  const text = `The same number as ${nameOf(lab, value, index)}`;
  return { reads: readsPixel(given, index), lines: [[text, lab.values[value].data[index], "total"]] };
}

function explainPad(given) {
  const { lab, step, index } = given;
  const x = lab.values[step.inputs[0].value];
  const [to, from] = [strides(step.shape), strides(x.shape)];
  const place = to.map((by, axis) => (Math.floor(index / by) % step.shape[axis]) - step.settings.widths[axis][0]);
  if (place.some((i, axis) => i < 0 || i >= x.shape[axis])) {
    return { reads: null, lines: [["The margin has the value", asNumber(step.settings.value), "total"]] };
  }
  const source = place.reduce((sum, i, axis) => sum + i * from[axis], 0);
  const text = `Inside of the margin: the same number as ${nameOf(lab, step.inputs[0].value, source)}`;
  return { reads: readsPixel(given, source), lines: [[text, x.data[source], "total"]] };
}

// ---- element by element

function explainElement(given) {
  const { lab, layer, step, index } = given;
  const operands = step.inputs.map((input) => elementOf(lab, step, input, index));
  const lines = operands.map((value, i) => [i ? `and ${roleOf(step.op)}` : "It reads", value]);
  const told = SIGNS[step.op] ? `${number(operands[0], 4)} ${SIGNS[step.op]} ${number(operands[1], 4)} is` : null;
  const name = isolated(layer.value - layer.first === 1 ? nameOfStep(step) : step.op.replaceAll("_", " "));
  const first = step.inputs[0]?.value; // undefined for a number and for weights
  const same = first !== undefined && size(lab.values[first].shape) === size(step.shape);
  return {
    summary: meaning(step, lab.data.weights),
    reads: same ? readsPixel(given, index) : null,
    lines: [
      ...lines.filter(([, value]) => value !== null),
      [told ?? `${name} of it is`, computeOne(step, operands), "total"],
    ],
  };
}

// An operation on each element, for one element; operands are numbers, or null.
export function computeOne(step, operands) {
  const tensors = operands.map((value) => (value === null ? null : makeTensor([], Float64Array.of(value))));
  const inputs = step.op === "clip" ? [tensors[0], ...operands.slice(1)] : tensors; // its limits are numbers
  return findOperation(step.op)(inputs, step.settings, []).data[0];
}

function roleOf(op) {
  return op === "prelu" ? "the learned slope for negative values" : "the other value";
}

// The number that an operand gives for element number `index` of the output; null for none.
function elementOf(lab, step, input, index) {
  const found = lab.operand(input);
  if (found === null || typeof found !== "object") return found === null ? null : asNumber(found);
  const shape = broadcastShape(found.shape, step.shape);
  return found.data[places(shape, broadcastStrides(found.shape, shape))[index]];
}

function explainNothing({ step, out }) {
  return { lines: [[`This page shows no arithmetic of ${isolated(step.op)}. It writes`, out, "total"]], reads: null };
}
