// The arithmetic of one pixel of a convolution: window, filter, products, sum, bias.

import { windowAt } from "./fields.js";
import { isElementwise } from "./operations/registry.js";
import { size } from "./tensors.js";

// The window of a convolution's output pixel, for one input channel.
//   patch     what the filter reads; 0 in the padding
//   inside    whether each place lies inside the input
//   filter    the weights
//   products  patch * filter
function readChannel(input, weight, f, c, channel, rows, cols) {
  const [, , H, W] = input.shape;
  const [, C, KH, KW] = weight.shape;
  const found = { channel, patch: [], inside: [], filter: [], products: [], sum: 0 };
  for (let kh = 0; kh < KH; kh++) {
    for (let kw = 0; kw < KW; kw++) {
      const [h, w] = [rows[kh], cols[kw]];
      const inside = h >= 0 && h < H && w >= 0 && w < W;
      const pixel = inside ? input.data[(channel * H + h) * W + w] : 0;
      const factor = weight.data[((f * C + c) * KH + kh) * KW + kw];
      found.patch.push(pixel);
      found.inside.push(inside);
      found.filter.push(factor);
      found.products.push(pixel * factor);
      found.sum += pixel * factor;
    }
  }
  return found;
}

export function explainPixel(lab, layer, f, row, col) {
  const { step, weight: name, bias: biasName, number } = layer.convolution;
  const [weight, input] = [lab.network.weight(name), lab.inputOf(layer.convolution)];
  const [F, C, KH, KW] = weight.shape;
  const { rows, cols } = windowAt(step, [KH, KW], row, col);
  const first = Math.floor(f / (F / step.settings.groups)) * C;
  const channels = Array.from({ length: C }, (_, c) => readChannel(input, weight, f, c, first + c, rows, cols));
  const sum = channels.reduce((total, channel) => total + channel.sum, 0);
  const bias = biasName ? lab.network.weight(biasName).data[f] : null;
  const silent = lab.isSilent(number, f);
  return {
    window: [KH, KW],
    rows,
    cols,
    channels,
    sum,
    bias,
    silent,
    value: silent ? 0 : sum + (bias ?? 0),
    readsPicture: layer.convolution.input === 0,
  };
}

// The same sum in pixel values: w * (p - mean) / std = (w / std) * p - w * mean / std.  The last terms together are a
// constant.
export function inPixelValues(lab, explained) {
  let constant = 0;
  const channels = explained.channels.map((channel) => {
    const [mean, std] = [lab.data.mean[channel.channel], lab.data.std[channel.channel]];
    const patch = channel.patch.map((x, i) => (channel.inside[i] ? 255 * (x * std + mean) : 0));
    const filter = channel.filter.map((w) => w / std / 255);
    const products = patch.map((p, i) => p * filter[i]);
    channel.filter.forEach((w, i) => (constant -= channel.inside[i] ? (w * mean) / std : 0));
    return { ...channel, patch, filter, products, sum: products.reduce((a, b) => a + b, 0) };
  });
  return { ...explained, channels, sum: channels.reduce((total, channel) => total + channel.sum, 0), constant };
}

// Whether a step works on each element alone, and keeps it where it is.
function actsOnElements({ op, settings, unknown }) {
  return !unknown && (isElementwise(op) || (op === "norm" && settings.statistics === "given"));
}

// What later layers make of element number `index` of a layer: {layer, value} of those that work on single elements, then
// the first other one.
export function followPixel(lab, layer, index) {
  const { steps } = lab.data;
  const chain = [];
  let value = layer.value;
  for (const next of lab.layers.slice(layer.number + 1)) {
    const own = steps.slice(next.first, next.value);
    const names = namesOf(steps, value);
    if (!own.some((each) => each.inputs?.some((x) => names.has(x?.value)))) continue;
    const alone = own.every(actsOnElements) && size(next.shape) === size(layer.shape);
    const found = lab.valueOf(next);
    if (!alone || !found) return { chain, next };
    chain.push({ layer: next, value: found.data[index] });
    value = next.value;
  }
  return { chain, next: null };
}

// The numbers of a value and of those that hold the same elements in the same order.
function namesOf(steps, value) {
  const names = new Set([value]);
  steps.forEach((step, number) => {
    const same = ["reshape", "clone"].includes(step.op) && names.has(step.inputs?.[0]?.value);
    if (same) names.add(number + 1);
  });
  return names;
}
