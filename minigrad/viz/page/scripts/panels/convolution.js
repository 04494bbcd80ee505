// Panel "Why convolution?": how many weights it saves, and that a shifted picture gives a shifted map.

import { drawWhenSeen, element, figure, panel, replace, slider } from "../dom.js";
import { paintImage, paintMap } from "../palette.js";
import { move } from "../picture.js";
import { largest, plane, size } from "../tensors.js";
import { count, percent, sizes } from "../words.js";

const SIDES = [28, 32, 48, 64, 96, 128, 160, 192, 224];
const DENSE_OUTPUTS = 100;

export function makeConvolutionPanel(lab) {
  const layer = lab.convolutions[0];
  if (!layer) return panel("convolution", "Why convolution?", "This model has no convolution to compare.");
  return panel(
    "convolution",
    "Why convolution?",
    "A convolution uses the same few weights at every place. So it needs few of them, and finds a pattern wherever it is.",
    element(
      "div",
      { class: "columns" },
      element("div", {}, element("h3", {}, "How many weights?"), makeCount(lab, layer)),
      element("div", {}, element("h3", {}, "Shift the picture"), makeShift(lab, layer)),
    ),
  );
}

// ---- weights of dense layers and of the convolution

// The number of weights, and of biases if the convolution has them, for an input (C, H, W): of a convolution, of a dense
// layer with DENSE_OUTPUTS, and of one with as many outputs as the convolution.
export function weightCounts({ step, bias, shape }, [C, ...sides]) {
  const [F, each, ...window] = shape;
  const { stride, pads, dilation } = step.settings;
  const lengths = sides.map((side, axis) => {
    const room = side + pads[2 * axis] + pads[2 * axis + 1] - dilation[axis] * (window[axis] - 1) - 1;
    return Math.floor(room / stride[axis]) + 1;
  });
  const added = bias ? 1 : 0;
  const inputs = size([C, ...sides]) + added;
  return {
    biased: Boolean(bias),
    convolution: F * (each * size(window) + added),
    dense: DENSE_OUTPUTS * inputs,
    same: F * size(lengths) * inputs,
    fits: lengths.every((n) => n > 0),
  };
}

// The words for such a number.
export function countedAs(biased) {
  return biased ? ["weight or bias", "weights and biases"] : ["weight", "weights"];
}

function makeCount(lab, layer) {
  const [F, each, KH, KW] = layer.convolution.shape;
  const [C, H, W] = lab.inputShape(layer.convolution);
  const bars = element("div", { class: "counts" });
  const others = SIDES.map((S) => [S, S]).filter(([S]) => S !== H || S !== W);
  const inputs = [[H, W], ...others].sort((a, b) => size(a) - size(b)).map((sides) => [C, ...sides]);
  const fitting = inputs.filter((input) => weightCounts(layer.convolution, input).fits);
  const draw = (i) => {
    const { convolution, dense, same, biased } = weightCounts(layer.convolution, fitting[i]);
    const most = Math.max(convolution, dense, same);
    const bar = (label, n) => countBar(label, n, most, biased);
    replace(
      bars,
      bar(`${layer.label}: ${count(F, "filter")} of ${each > 1 ? `${each}×` : ""}${KH}×${KW}`, convolution),
      bar(`a dense layer with ${DENSE_OUTPUTS} outputs`, dense),
      bar(`a dense layer with as many outputs as ${layer.label}`, same),
      element("p", { class: "note" }, describeCount(layer, fitting[i], biased)),
    );
  };
  const own = fitting.findIndex(([, h, w]) => h === H && w === W);
  const format = (i) => `${sizes(fitting[i].slice(1))} px`;
  const sides = slider("Picture", { min: 0, max: fitting.length - 1, value: own, format, id: "side" }, draw);
  draw(own);
  return element("div", {}, sides.node, bars);
}

function describeCount({ label, convolution }, [C, H, W], biased) {
  const what = convolution.input ? `For an input of ${count(C, "map")} of ${H}×${W}` : `For a picture of ${H}×${W}`;
  const channels = !convolution.input && C > 1 ? ` with ${C} channels` : "";
  const biases = biased ? "" : ` ${label} has no biases, so none are counted.`;
  return `${what}${channels}.${biases} The bars grow with the number of digits (logarithmic scale).`;
}

function countBar(label, n, most, biased) {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${(100 * Math.log10(n)) / Math.log10(most)}%`;
  return element(
    "div",
    { class: "count" },
    element("span", {}, label),
    element("span", { class: "track" }, fill),
    element("b", {}, count(n, ...countedAs(biased))),
  );
}

// ---- a shifted picture, a shifted map

function makeShift(lab, layer) {
  const [, H, W] = lab.shape;
  const canvases = ["the picture", "shifted", "its map", "map of the shifted picture"].map((caption) => {
    const canvas = element("canvas", { class: "map large", role: "img", "aria-label": caption });
    return { canvas, node: figure(caption, canvas) };
  });
  const told = element("p", { class: "told", "aria-live": "polite" });
  let dx = 0;
  const draw = () =>
    drawShift(
      lab,
      layer,
      dx,
      canvases.map(({ canvas }) => canvas),
      told,
    );
  const limit = Math.floor(W / 3);
  const steps = slider(
    "Shift right",
    { min: -limit, max: limit, value: 0, format: (n) => `${n} px`.replace("-", "−"), id: "equivariance" },
    (value) => {
      dx = value;
      draw();
    },
  );
  const node = element(
    "div",
    {},
    steps.node,
    element(
      "div",
      { class: "four" },
      canvases.map((canvas) => canvas.node),
    ),
    told,
  );
  drawWhenSeen(node, lab, "values selection", draw);
  return node;
}

function drawShift(lab, layer, dx, [picture, shifted, map, shiftedMap], told) {
  const moved = move(lab.pixels, lab.shape, { dx, dy: 0, angle: 0 }, lab.background);
  const values = lab.network.run(lab.network.asImage(lab.toNumbers(moved)));
  const [before, after] = [lab.valueOf(layer), values[layer.value]];
  if (!before || !after) return;
  const channel = lab.state.selection.layer === layer.number ? lab.state.selection.channel : 0;
  const [, , OH, OW] = before.shape;
  const scale = largest(before.data);
  paintImage(picture, lab.pixels, lab.shape);
  paintImage(shifted, moved, lab.shape);
  paintMap(map, plane(before, channel), OW, OH, scale);
  paintMap(shiftedMap, plane(after, channel), OW, OH, scale);
  const stride = layer.convolution.step.settings.stride[1];
  if (dx === 0) told.textContent = "Move the slider: the map moves along.";
  else
    told.textContent =
      dx % stride
        ? `${layer.label} has stride ${stride}: only a shift by a multiple of ${stride} gives a shifted map.`
        : `${layer.label}, map ${channel}: ${percent(agreement(before, after, channel, dx / stride))} of the map's pixels moved along by ${Math.abs(dx / stride)}. Others are near the edge, where the picture ends.`;
}

// The share of pixels of a map that equal the pixel `by` columns further right in the other map.
function agreement(before, after, channel, by) {
  const [, , H, W] = before.shape;
  const [a, b] = [plane(before, channel), plane(after, channel)];
  const close = 1e-4 * Math.max(1, largest(before.data));
  let [same, all] = [0, 0];
  for (let h = 0; h < H; h++) {
    for (let w = Math.max(0, -by); w < Math.min(W, W - by); w++) {
      all++;
      if (Math.abs(a[h * W + w] - b[h * W + w + by]) <= close) same++;
    }
  }
  return all ? same / all : 0;
}
