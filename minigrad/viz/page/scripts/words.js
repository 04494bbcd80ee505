// Numbers, shapes and names of operations as text.

export function number(value, digits = 3) {
  if (value === null || value === undefined) return "none";
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  const text = size !== 0 && (size >= 1e5 || size < 1e-3) ? value.toExponential(1) : value.toPrecision(digits);
  return trimZeros(text).replaceAll("-", "−");
}

// The loss of a moment of the training; Python sends null for NaN and infinity, and if there was no step yet.
export function lossText(loss, hasSteps) {
  if (loss !== null) return `loss ${number(loss)}`;
  return hasSteps ? "the loss is NaN or infinite" : "no loss yet";
}

function trimZeros(text) {
  return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
}

// A name inside other text.  Letters that may be written from right to left are isolated, so that they do not reorder
// what stands around them; in elements, named() of dom.js does this.
export function isolated(name) {
  return /[\u0590-\uffff]/.test(name) ? `\u2068${name}\u2069` : String(name);
}

// A fixed number of decimals, for tables.
export function decimals(value, places = 2) {
  if (!Number.isFinite(value)) return String(value);
  const text = value.toFixed(places);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

export function count(n, noun, plural = `${noun}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? noun : plural}`;
}

export function percent(share) {
  return `${decimals(100 * share, 1)} %`;
}

export function sizes(shape) {
  return shape.join("×");
}

// "rows 3 to 7", "row 3"
export function span(noun, first, end) {
  if (end <= first) return `no ${noun}`;
  return end - first === 1 ? `${noun} ${first}` : `${noun}s ${first} to ${end - 1}`;
}

const MEANINGS = {
  max_pool2d: ({ window }) => `keeps the largest value of every ${sizes(window)} window`,
  avg_pool2d: ({ window }) => `takes the mean of every ${sizes(window)} window`,
  relu: () => "turns negative values into 0",
  leaky_relu: () => "makes negative values small",
  clip: () => "cuts off values that are too small or too large",
  tanh: () => "squeezes values into −1 to 1",
  sigmoid: () => "squeezes values into 0 to 1",
  norm: () => "shifts and scales every map (normalisation)",
  add: () => "adds two maps, pixel by pixel",
  pad: () => "adds a margin around the maps",
  reshape: () => "puts all maps into one row of numbers",
  cat: () => "puts maps beside each other",
  mean: () => "takes the mean of many values",
  amax: () => "takes the largest of many values",
  softmax: () => "turns scores into probabilities",
  log_softmax: () => "turns scores into logarithms of probabilities",
};

// What an operation does, in a few words.
export function meaning(step, weights) {
  if (step.unknown) return "unknown to this page";
  if (step.op === "conv2d") return convolutionText(step, weights);
  if (step.op === "linear") return "every value is a weighted sum of all values before it";
  return MEANINGS[step.op]?.(step.settings) ?? `applies ${isolated(nameOfStep(step))}`;
}

// PyTorch's name of the layer, such as PReLU; of a function, its own name.
export function nameOfStep({ op, kind }) {
  return kind ?? op;
}

function convolutionText({ inputs, settings }, weights) {
  const weight = weights.get(inputs[1].weight);
  if (!weight) return "convolution";
  const [F, C, KH, KW] = weight.shape;
  const extra = [];
  if (Math.max(...settings.stride) > 1) extra.push(`stride ${settings.stride[0]}`);
  if (Math.max(...settings.pads) > 0) extra.push(`padding ${settings.pads[0]}`);
  if (Math.max(...settings.dilation) > 1) extra.push(`dilation ${settings.dilation[0]}`);
  if (settings.groups > 1) extra.push(`${settings.groups} groups`);
  const deep = C > 1 ? `${C}×${KH}×${KW}` : `${KH}×${KW}`;
  return [`${count(F, "filter")} of ${deep} weights slide over it`, ...extra].join(", ");
}
