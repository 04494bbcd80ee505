// Panel "Why convolution?": how many weights it saves, and that a shifted picture gives a shifted map.

import { drawWhenSeen, element, figure, panel, replace, slider } from "../dom.js";
import { paintImage, paintMap } from "../palette.js";
import { move } from "../picture.js";
import { largest, plane } from "../tensors.js";
import { count, percent } from "../words.js";

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

// The number of weights and biases for a picture of side S: of a convolution, of a dense layer with DENSE_OUTPUTS, and of
// one with as many outputs as the convolution.
export function weightCounts([F, C, KH, KW], { stride, pads, dilation }, S) {
  const length = (K, axis) =>
    Math.floor((S + pads[2 * axis] + pads[2 * axis + 1] - dilation[axis] * (K - 1) - 1) / stride[axis]) + 1;
  const pixels = C * S * S;
  return {
    convolution: F * (C * KH * KW + 1),
    dense: DENSE_OUTPUTS * (pixels + 1),
    same: F * length(KH, 0) * length(KW, 1) * (pixels + 1),
  };
}

function makeCount(lab, layer) {
  const [F, C, KH, KW] = lab.network.weight(layer.convolution.weight).shape;
  const bars = element("div", { class: "counts" });
  const draw = (i) => {
    const S = SIDES[i];
    const { convolution, dense, same } = weightCounts([F, C, KH, KW], layer.convolution.step.settings, S);
    replace(
      bars,
      countBar(`${layer.label}: ${F} filters of ${C > 1 ? `${C}×` : ""}${KH}×${KW}`, convolution, same),
      countBar(`a dense layer with ${DENSE_OUTPUTS} outputs`, dense, same),
      countBar(`a dense layer with as many outputs as ${layer.label}`, same, same),
      element(
        "p",
        { class: "note" },
        `For a picture of ${S}×${S}${C > 1 ? `×${C}` : ""}. The bars grow with the number of digits (logarithmic scale).`,
      ),
    );
  };
  const size = slider(
    "Side of the picture",
    { min: 0, max: SIDES.length - 1, value: 0, format: (i) => `${SIDES[i]} px`, id: "side" },
    draw,
  );
  draw(0);
  return element("div", {}, size.node, bars);
}

function countBar(label, n, most) {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${(100 * Math.log10(n)) / Math.log10(most)}%`;
  return element(
    "div",
    { class: "count" },
    element("span", {}, label),
    element("span", { class: "track" }, fill),
    element("b", {}, count(n, "weight")),
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
  drawWhenSeen(told, lab, "values selection", draw);
  return element(
    "div",
    {},
    steps.node,
    element(
      "div",
      { class: "four" },
      canvases.map(({ node }) => node),
    ),
    told,
  );
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
