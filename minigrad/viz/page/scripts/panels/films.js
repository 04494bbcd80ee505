// Filters in training: of each its weights, its gradient, and what changed.  Used by the tape and by the live page.

import { element, figure, replace } from "../dom.js";
import { paintMap } from "../palette.js";
import { largest } from "../tensors.js";

const MOST_FILTERS = 32;
const NAMES = ["weights", "gradient", "change"];

// node, and draw({shape, weights, gradients, updates, strongest, scale, caption}).
//   shape      (F, C, KH, KW)
//   weights    numbers; gradients and updates are null where there are none
//   strongest  weights that decide which input channel is shown
//   scale      of the weights; the largest of them if undefined
//   caption    function of the number of a filter
export function makeFilms() {
  const node = element("div", { class: "film" });
  let cells = [];
  const draw = (films) => {
    const shown = Math.min(films.shape[0], MOST_FILTERS);
    if (cells.length !== shown) {
      cells = Array.from({ length: shown }, (_, f) => makeCell(f));
      replace(node, ...cells.map((cell) => cell.node));
    }
    cells.forEach((cell, f) => drawCell(cell, f, films));
  };
  return { node, draw };
}

// What the pictures of `draw` are, in words.
export function describeFilms([F, C], since, gradient) {
  const channel = C > 1 ? " Of each filter, the strongest input channel is shown." : "";
  const some = F > MOST_FILTERS ? ` The first ${MOST_FILTERS} of ${F} filters are shown.` : "";
  return (
    `Gradient: that ${gradient}; a step moves the weights against it. Change: what the weights became minus what they ` +
    `were ${since}. Orange is positive, blue negative, white zero, grey none. Weights share one scale; each gradient and ` +
    `each change has its own.${channel}${some}`
  );
}

function makeCell(f) {
  const canvases = NAMES.map((name) =>
    element("canvas", { class: "map filter", role: "img", "aria-label": `${name} of filter ${f}`, title: name }),
  );
  const parts = canvases.map((canvas, i) => element("span", { class: "part" }, NAMES[i], canvas));
  const node = figure("", ...parts);
  return { canvases, node, text: node.lastChild };
}

function drawCell({ canvases, text }, f, { shape, weights, gradients, updates, strongest, scale, caption }) {
  const [, C, KH, KW] = shape;
  const first = (f * C + strongestChannel(strongest.subarray(f * C * KH * KW, (f + 1) * C * KH * KW), C)) * KH * KW;
  const none = new Float32Array(KH * KW).fill(NaN);
  const parts = [weights, gradients, updates].map((data) => data?.subarray(first, first + KH * KW) ?? none);
  const scales = [scale ?? largest(weights), largest(parts[1]), largest(parts[2])];
  parts.forEach((part, i) => paintMap(canvases[i], part, KW, KH, scales[i] || 1));
  text.textContent = caption(f);
}

function strongestChannel(filter, C) {
  const each = filter.length / C;
  const strength = (c) => Math.hypot(...filter.subarray(c * each, (c + 1) * each));
  return Array.from({ length: C }, (_, c) => c).reduce((best, c) => (strength(c) > strength(best) ? c : best), 0);
}
