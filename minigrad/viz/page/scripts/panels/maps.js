// Panel "Feature maps": every map of every layer.  A row is a layer, a column is a channel.

import { button, drawWhenSeen, element, named, panel, replace } from "../dom.js";
import { pixelUnder, receptiveField } from "../fields.js";
import { paintMap } from "../palette.js";
import { largest, plane } from "../tensors.js";
import { count, decimals, meaning, number, sizes, span } from "../words.js";

const MOST_CHANNELS = 64; // channels of a block that are drawn at first
const MOST_NAMES = 12; // classes whose names stand below their scores

export function makeMapsPanel(lab) {
  const told = element("p", { class: "told", "aria-live": "polite" }, "Point at a map to see what one pixel sees.");
  const blocks = groupLayers(lab).map((layers) => (layers[0].isMap ? makeBlock(lab, layers) : makeStrips(lab, layers)));
  lab.on("selection", () => (told.textContent = describePixel(lab, lab.state.selection)));
  lab.on("pointed", () => (told.textContent = lab.pointed ? describePixel(lab, lab.pointed) : told.textContent));
  const node = panel(
    "maps",
    "Feature maps",
    "Each row is a layer, each column a channel. Click a pixel to see the arithmetic behind it.",
    legend(),
    blackNote(lab),
    ...blocks,
    told,
  );
  node.addEventListener("keydown", (event) => moveFocus(event, node));
  node.querySelector(".tile")?.setAttribute("tabindex", 0);
  return node;
}

// Layers in order, in blocks: a convolution and the layers after it with the same channels.
function groupLayers(lab) {
  const blocks = [];
  for (const layer of lab.layers) {
    const last = blocks[blocks.length - 1]?.at(-1);
    const joins =
      last && last.isMap === layer.isMap && !layer.convolution && (!layer.isMap || last.shape[1] === layer.shape[1]);
    if (joins) blocks[blocks.length - 1].push(layer);
    else blocks.push([layer]);
  }
  return blocks;
}

function legend() {
  const canvas = element("canvas", {
    class: "legend",
    role: "img",
    "aria-label": "Colours: blue below zero, white zero, orange above",
  });
  paintMap(
    canvas,
    Float32Array.from({ length: 101 }, (_, i) => i - 50),
    101,
    1,
    50,
  );
  return element(
    "p",
    { class: "scale" },
    "Blue: negative",
    canvas,
    "orange: positive. White is zero. Each layer has its own scale.",
  );
}

// After normalisation black is not zero, which surprises everyone who looks at the maps.
function blackNote(lab) {
  const black = -lab.data.mean[0] / lab.data.std[0];
  if (Math.abs(black) < 0.01) return null;
  return element(
    "p",
    { class: "note" },
    `Pictures are normalised: black is ${decimals(black, 2)}, not 0. So black areas give an answer too, and where zeros pad the picture, a frame appears.`,
  );
}

// ---- blocks of maps

function makeBlock(lab, layers) {
  const block = element("div", { class: "block" });
  const title = element("h3", {}, ...joinNames(layers));
  const grid = element("div", { class: "grid", role: "grid" });
  const node = element("div", {}, title, element("div", { class: "scroll" }, grid), block);
  let shown = Math.min(MOST_CHANNELS, layers[0].shape[1]);
  let rows = [];
  const build = () => {
    grid.style.setProperty("--channels", shown);
    rows = layers.map((layer) => makeRow(lab, layer, shown));
    replace(grid, headRow(shown), filterRow(lab, layers[0], shown), ...rows.map((row) => row.node));
  };
  const draw = () => rows.forEach((row) => row.draw());
  build();
  if (shown < layers[0].shape[1]) {
    block.append(
      button(`Show all ${layers[0].shape[1]} channels`, (event) => {
        shown = layers[0].shape[1];
        build();
        draw();
        event.target.remove();
      }),
    );
  }
  drawWhenSeen(node, lab, "values selection", draw);
  return node;
}

function joinNames(layers) {
  return layers.flatMap((layer, i) => (i ? [" → ", named(layer.name)] : [named(layer.name)]));
}

function headRow(channels) {
  const heads = Array.from({ length: channels }, (_, c) => element("span", { class: "head", role: "columnheader" }, c));
  return element("div", { class: "line", role: "row" }, element("span", { class: "label head" }, "channel"), heads);
}

// The filters of a convolution that reads one channel: a picture above every map.
function filterRow(lab, layer, shown) {
  const weight = layer.convolution && lab.network.weight(layer.convolution.weight);
  if (!weight || weight.shape[1] !== 1) return null;
  const [, , KH, KW] = weight.shape;
  const canvases = Array.from({ length: shown }, () =>
    element("canvas", { class: "map filter", "aria-hidden": "true" }),
  );
  const draw = () => {
    const current = lab.network.weight(layer.convolution.weight);
    const scale = largest(current.data);
    canvases.forEach((canvas, f) =>
      paintMap(canvas, current.data.subarray(f * KH * KW, (f + 1) * KH * KW), KW, KH, scale),
    );
  };
  lab.on("weights", draw);
  draw();
  const label = element("span", { class: "label" }, element("b", {}, "filters"), ` ${sizes([KH, KW])} weights`);
  return element("div", { class: "line" }, label, canvases);
}

function makeRow(lab, layer, shown) {
  const [, , H, W] = layer.shape;
  const step = lab.data.steps[layer.value - 1];
  const told = layer.convolution ? meaning(layer.convolution.step, lab.data.weights) : meaning(step, lab.data.weights);
  const label = element(
    "span",
    { class: "label", title: told, role: "rowheader" },
    element("b", {}, named(layer.name)),
    kindOf(layer),
    ` ${H}×${W}`,
    element("small", {}, told),
  );
  const tiles = Array.from({ length: shown }, (_, channel) => makeTile(lab, layer, channel));
  const draw = () => {
    const value = lab.valueOf(layer);
    const scale = value ? largest(value.data) : 0;
    tiles.forEach((tile, channel) => drawTile(lab, layer, channel, tile, value, scale));
  };
  return { node: element("div", { class: "line", role: "row" }, label, tiles), draw };
}

// The class of the module, where its name does not say it already.
function kindOf(layer) {
  return layer.kind === layer.name ? null : element("span", { class: "kind" }, ` ${layer.kind}`);
}

function makeTile(lab, layer, channel) {
  const [, , H, W] = layer.shape;
  const canvas = element("canvas", { class: "map" });
  const at = (event) => ({ layer: layer.number, channel, ...pixelUnder(event, canvas, H, W) });
  const tile = element(
    "button",
    {
      type: "button",
      class: "tile",
      tabindex: -1,
      role: "gridcell",
      "aria-label": `${layer.label}, channel ${channel}, ${H} by ${W}`,
      onpointermove: (event) => point(lab, at(event)),
      onpointerleave: () => point(lab, null),
      onfocus: () => point(lab, strongestPixel(lab, layer, channel)),
      onclick: (event) => lab.select(event.detail ? at(event) : strongestPixel(lab, layer, channel)),
    },
    canvas,
  );
  return tile;
}

function drawTile(lab, layer, channel, tile, value, scale) {
  const [, , H, W] = layer.shape;
  const { selection } = lab.state;
  const canvas = tile.firstChild;
  tile.classList.toggle("empty", !value);
  tile.classList.toggle("selected", selection.layer === layer.number && selection.channel === channel);
  paintMap(canvas, value ? plane(value, channel) : new Float32Array(H * W), W, H, scale);
}

function strongestPixel(lab, layer, channel) {
  const W = layer.shape[3];
  const value = lab.valueOf(layer);
  let best = 0;
  const data = value ? plane(value, channel) : [0];
  data.forEach((x, i) => (best = Math.abs(x) > Math.abs(data[best]) ? i : best));
  return { layer: layer.number, channel, row: Math.floor(best / W), col: best % W };
}

export function point(lab, pixel) {
  lab.pointed = pixel;
  lab.emit("pointed");
}

function describePixel(lab, { layer: i, channel, row, col }) {
  const layer = lab.layers[i];
  const value = lab.valueOf(layer);
  const found = value ? number(value.data[lab.indexOf(layer, { channel, row, col })]) : "not computed";
  if (!layer.isMap) return `${layer.label}, number ${channel}: ${found}. It may depend on the whole picture.`;
  const field = receptiveField(layer, row, col, lab.shape);
  const sees = field.whole
    ? "It may depend on the whole picture."
    : `It sees ${span("row", ...field.rows)}, ${span("column", ...field.cols)} of the picture (its receptive field).`;
  return `${layer.label}, channel ${channel}, row ${row}, column ${col}: ${found}. ${sees}`;
}

// Arrow keys move the focus between the maps: left and right to another channel, up and down to another layer.
function moveFocus(event, node) {
  const tile = event.target.closest(".tile");
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  if (!tile || !(event.key in steps)) return;
  event.preventDefault();
  const lines = [...node.querySelectorAll(".line")]
    .map((line) => [...line.querySelectorAll(".tile")])
    .filter((line) => line.length);
  const row = lines.findIndex((line) => line.includes(tile));
  const [down, right] = steps[event.key];
  const line = lines[Math.max(0, Math.min(lines.length - 1, row + down))];
  const next = line[Math.max(0, Math.min(line.length - 1, lines[row].indexOf(tile) + right))];
  tile.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

// ---- layers of plain numbers

function classNames(lab) {
  const row = element(
    "div",
    { class: "class-names", "aria-hidden": "true" },
    lab.data.classes.map((name) => element("span", {}, named(name))),
  );
  row.style.setProperty("--channels", lab.data.classes.length);
  return row;
}

function makeStrips(lab, layers) {
  const strips = layers.map((layer) => makeStrip(lab, layer));
  const node = element(
    "div",
    { class: "strips" },
    element("h3", {}, ...joinNames(layers)),
    strips.map((strip) => strip.node),
  );
  drawWhenSeen(node, lab, "values", () => strips.forEach((strip) => strip.draw()));
  return node;
}

function makeStrip(lab, layer) {
  const n = layer.channels;
  const step = lab.data.steps[layer.value - 1];
  const canvas = element("canvas", { class: "map strip", role: "img", title: "Click a number to see what it is made of" });
  canvas.addEventListener("click", (event) =>
    lab.select({ layer: layer.number, channel: pixelUnder(event, canvas, 1, n).col }),
  );
  const draw = () => {
    const value = lab.valueOf(layer);
    paintMap(canvas, value ? value.data : new Float32Array(n), n, 1);
    const most = value ? value.data.reduce((best, x, i, all) => (x > all[best] ? i : best), 0) : 0;
    canvas.setAttribute("aria-label", `${layer.label}: ${count(n, "value")}, the largest is number ${most}`);
  };
  const label = element(
    "span",
    { class: "label" },
    element("b", {}, named(layer.name)),
    kindOf(layer),
    ` ${count(n, "value")}`,
    element("small", {}, meaning(step, lab.data.weights)),
  );
  const names = layer.value === lab.network.result && n <= MOST_NAMES ? classNames(lab) : null;
  return { node: element("div", { class: "strip-line" }, label, element("div", {}, canvas, names)), draw };
}
