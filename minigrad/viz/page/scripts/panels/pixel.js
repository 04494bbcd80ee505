// Panel "One value": the arithmetic of the selected value, with the window on what the layer reads and the value on what
// it writes.

import { followPixel } from "../arithmetic.js";
import { button, checkbox, choice, drawWhenSeen, element, named, panel, replace } from "../dom.js";
import { explain } from "../explanations.js";
import { pixelUnder, placeFrame } from "../fields.js";
import { colourOf, paintMap } from "../palette.js";
import { largest, plane } from "../tensors.js";
import { decimals, meaning, number, sizes } from "../words.js";

const MOST_NUMBERS = 49; // larger windows have no numbers in their cells
const PAUSE = 120; // milliseconds between two positions of the sliding window

export function makePixelPanel(lab) {
  const view = new PixelView(lab);
  const node = panel(
    "pixel",
    "One value, step by step",
    "Click a pixel of a map, or a number of a dense layer: the page shows what the layer reads there, what it does, and what it writes.",
    view.controls,
    view.summary,
    view.maps,
    view.body,
  );
  drawWhenSeen(node, lab, "values selection", () => view.draw());
  return node;
}

class PixelView {
  constructor(lab) {
    this.lab = lab;
    this.timer = null;
    this.shown = null; // while the window slides: the last pixel that is shown
    this.channel = null; // the input channel that the reader chose; null: the strongest
    this.controls = this.makeControls();
    this.summary = element("p", { class: "summary" });
    this.maps = this.makeMaps();
    this.body = element("div", { class: "arithmetic", "aria-live": "off" });
  }

  get layer() {
    return this.lab.layers[this.lab.state.selection.layer];
  }

  get pixel() {
    const { channel, row, col } = this.lab.state.selection;
    return { channel, row, col };
  }

  // Rows and columns over which the window slides; the numbers of a dense layer are one row.
  get area() {
    return this.layer.isMap ? this.layer.shape.slice(2) : [1, this.layer.channels];
  }

  // Select the pixel in a row and a column of the area.
  go(row, col) {
    if (this.layer.isMap) this.lab.select({ row, col });
    else this.lab.select({ channel: Math.max(0, col) });
  }

  // Row and column of the selected pixel in the area.
  get spot() {
    const { channel, row, col } = this.pixel;
    return this.layer.isMap ? { row, col } : { row: 0, col: channel };
  }

  makeControls() {
    const { lab } = this;
    this.layerChoice = choice(
      "Layer",
      lab.layers.map((layer) => [String(layer.number), layer.name]),
      null,
      (value) => this.chooseLayer(Number(value)),
      { id: "pixel-layer" },
    );
    this.filterChoice = choice("Filter", [], null, (value) => lab.select({ channel: Number(value) }), {
      id: "pixel-filter",
    });
    this.inputChoice = choice("Input channel", [], null, (value) => this.chooseInput(value), { id: "pixel-input" });
    this.units = checkbox(
      "in pixel values 0 to 255",
      lab.state.inPixels,
      (value) => lab.set({ inPixels: value }, "selection"),
      { id: "pixel-units" },
    );
    this.play = button("▶ Slide the window", () => (this.timer ? this.stop() : this.start()), { id: "slide" });
    return element(
      "div",
      { class: "controls" },
      this.layerChoice.node,
      this.filterChoice.node,
      this.inputChoice.node,
      this.units.node,
      this.play,
      button("← Step back", () => this.step(-1)),
      button("Step →", () => this.step(1), { id: "step" }),
    );
  }

  // The selected pixel stays about where it is.
  chooseLayer(number) {
    const [from, to] = [this.layer, this.lab.layers[number]];
    const scaled = (place, axis) => Math.floor((place * to.shape[axis]) / from.shape[axis]);
    const { row, col } = this.pixel;
    const both = from.isMap && to.isMap ? { row: scaled(row, 2), col: scaled(col, 3) } : {};
    this.channel = null;
    this.lab.select({ layer: number, ...both });
  }

  chooseInput(value) {
    this.channel = value === "" ? null : Number(value);
    this.draw();
  }

  makeMaps() {
    this.input = this.makeMap("what the layer reads", () => {});
    this.output = this.makeMap("what it writes; click or use the arrow keys", (event) => {
      const { row, col } = pixelUnder(event, this.output.canvas, ...this.area);
      this.go(row, col);
    });
    this.output.canvas.tabIndex = 0;
    this.output.canvas.id = "pixel-output";
    this.output.canvas.addEventListener("keydown", (event) => this.key(event));
    return element(
      "div",
      { class: "pair" },
      this.input.node,
      element("span", { class: "arrow", "aria-hidden": "true" }, "→"),
      this.output.node,
    );
  }

  makeMap(caption, onclick) {
    const canvas = element("canvas", { class: "map large", role: "img", onclick });
    const frame = element("div", { class: "frame" });
    const text = element("figcaption", {}, caption);
    const layers = element("div", { class: "layers" }, canvas, frame);
    const padding = element("div", { class: "padding" }, layers);
    return { canvas, frame, text, padding, node: element("figure", {}, padding, text) };
  }

  key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const { row, col } = this.spot;
    const [down, right] = moves[event.key];
    this.go(row + down, col + right);
  }

  // ---- sliding

  start() {
    const [H, W] = this.area;
    this.shown = 0;
    this.timer = setInterval(() => {
      this.moveTo(this.shown);
      if (++this.shown >= H * W) this.stop();
    }, PAUSE);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = this.shown = null;
    this.draw();
  }

  step(by) {
    const { row, col } = this.spot;
    this.moveTo(row * this.area[1] + col + by);
  }

  moveTo(place) {
    const [H, W] = this.area;
    const next = (place + H * W) % (H * W);
    this.go(Math.floor(next / W), next % W);
  }

  // ---- drawing

  draw() {
    const { lab, layer, pixel } = this;
    const found = explain(lab, layer, pixel, { channel: this.channel, inPixels: lab.state.inPixels });
    this.fillChoices(found);
    this.maps.hidden = !found;
    this.maps.classList.toggle("stacked", !layer.isMap);
    this.summary.textContent = found ? this.summarise(found) : "";
    if (!found) {
      replace(this.body, "This layer is not computed for your picture.");
      return;
    }
    this.drawInput(found.reads);
    this.drawOutput();
    replace(
      this.body,
      found.parts.length ? element("div", { class: "tables" }, found.parts.map(makePart)) : null,
      element("ol", { class: "sums" }, [...found.lines, ...this.followingLines()].map(makeLine)),
    );
  }

  summarise({ summary }) {
    const { layer, lab } = this;
    const text = summary.endsWith(".") || summary.endsWith(":") ? summary : `This layer ${summary}.`;
    const last = layer.convolution ? layer.convolution.number : layer.value - 1;
    const steps = lab.data.steps.slice(layer.first, layer.value);
    if (steps.length === 1) return text;
    return `${text} It does ${steps.length} operations one after the other; shown is ${last === layer.value - 1 ? "the last" : "the convolution"}.`;
  }

  fillChoices(found) {
    const { layer, pixel } = this;
    this.play.textContent = this.timer ? "Stop" : layer.isMap ? "▶ Slide the window" : "▶ One after the other";
    const filters = Array.from({ length: layer.channels }, (_, f) =>
      element("option", { value: f, selected: f === pixel.channel }, f),
    );
    const strongest = element("option", { value: "", selected: this.channel === null }, "strongest");
    const channels = found?.channels ?? [];
    const inputs = channels.map((c, i) => element("option", { value: i, selected: i === this.channel }, c));
    this.layerChoice.input.value = String(layer.number);
    this.filterChoice.node.firstChild.textContent = layer.convolution ? "Filter" : layer.isMap ? "Channel" : "Number";
    replace(this.filterChoice.input, ...filters);
    replace(this.inputChoice.input, strongest, ...inputs);
    this.inputChoice.node.hidden = channels.length < 2;
    this.units.node.hidden = !found?.units;
    this.units.input.checked = this.lab.state.inPixels;
  }

  drawInput(reads) {
    this.input.node.hidden = this.maps.children[1].hidden = !reads;
    if (!reads) return;
    const { lab } = this;
    const { value, channel, rows, cols, pads = [0, 0, 0, 0] } = reads;
    const input = lab.values[value];
    const isMap = input.shape.length === 4;
    const [H, W] = isMap ? input.shape.slice(2) : [1, input.data.length];
    const { canvas, frame, text } = this.input;
    canvas.classList.toggle("strip", !isMap);
    paintMap(canvas, isMap ? plane(input, channel) : input.data, W, H, largest(input.data));
    placeFrame(frame, rows, cols, H, W);
    this.drawPadding(pads, W);
    const from = value === 0 ? "the normalised picture" : "the layer before";
    const what = isMap ? `${from}, channel ${channel}, ${H}×${W}` : `${W} numbers of ${from}`;
    const framed = reads.framed ?? "the window";
    text.textContent = `reads: ${what}. Framed: ${framed}${pads.some(Boolean) ? ". Hatched: padding" : ""}`;
    canvas.setAttribute(
      "aria-label",
      `${text.textContent}, rows ${rows[0]} to ${rows[1] - 1}, columns ${cols[0]} to ${cols[1] - 1}`,
    );
  }

  // The hatched margin has the size of the padding.
  drawPadding([top, bottom, left, right], W) {
    const share = (n) => `${(100 * n) / (W + left + right)}%`;
    this.input.padding.style.padding = [top, right, bottom, left].map(share).join(" ");
  }

  drawOutput() {
    const { lab, layer } = this;
    const { channel } = this.pixel;
    const { row, col } = this.spot;
    const output = lab.valueOf(layer);
    const [H, W] = this.area;
    const { canvas, frame, text } = this.output;
    const data = layer.isMap ? plane(output, channel) : output.data;
    const visible = this.shown === null ? data : data.map((value, i) => (i <= row * W + col ? value : 0));
    canvas.classList.toggle("strip", !layer.isMap);
    paintMap(canvas, visible, W, H, largest(output.data));
    placeFrame(frame, [row, row + 1], [col, col + 1], H, W);
    text.textContent = layer.isMap
      ? `writes: map ${channel}, ${H}×${W}. Framed: row ${row}, column ${col}`
      : `writes: ${W} numbers. Framed: number ${col}${this.className(col)}`;
    canvas.setAttribute("aria-label", `${text.textContent}. Arrow keys choose another pixel.`);
  }

  // The class that a number of the last layer stands for.
  className(i) {
    const { lab, layer } = this;
    return layer.value === lab.network.result ? `, the class ${lab.classLabel(i)}` : "";
  }

  // What later layers make of the value.
  followingLines() {
    const { chain, next } = followPixel(this.lab, this.layer, this.lab.indexOf(this.layer, this.pixel));
    const lines = chain.map(({ layer, value }) => [["then ", named(layer.name), " makes it"], value]);
    if (!next) return lines;
    const told = meaning(this.lab.data.steps[next.value - 1], this.lab.data.weights);
    return [...lines, [["then ", named(next.name), ` reads it: ${told}`], null]];
  }
}

function makeLine([text, value, kind = ""]) {
  const shown = value === null ? null : element("b", {}, number(value, 4));
  return element("li", { class: kind }, element("span", {}, text), shown);
}

function makePart(part) {
  if (typeof part === "string") return element("span", { class: "sign" }, part);
  // a wide table scrolls in a box of its own
  return element("div", { class: "wide" }, part.terms ? makeTerms(part.terms) : makeTable(part));
}

// A grid of coloured numbers; places outside of the input are padding, one may be marked.
function makeTable({ caption, values, inside, shape: [KH, KW], places, mark }) {
  const scale = largest(values);
  const digits = KH * KW <= MOST_NUMBERS ? places : null;
  const rows = Array.from({ length: KH }, (_, h) =>
    element(
      "tr",
      {},
      Array.from({ length: KW }, (_, w) => {
        const i = h * KW + w;
        return makeCell(values[i], inside?.[i] ?? true, scale, digits, i === mark);
      }),
    ),
  );
  return element(
    "table",
    { class: digits === null ? "numbers small" : "numbers" },
    element("caption", {}, `${caption}, ${sizes([KH, KW])}`),
    element("tbody", {}, rows),
  );
}

function makeCell(value, inside, scale, places, marked) {
  const text = places === null ? "" : inside ? decimals(value, places) : "pad";
  const cell = element("td", { class: inside ? (marked ? "marked" : "") : "padding" }, text);
  if (inside) colour(cell, value, scale);
  return cell;
}

function colour(cell, value, scale) {
  const { background, dark } = colourOf(value, scale);
  cell.style.background = background;
  cell.style.color = dark ? "#fff" : "#222";
}

// The products of a dense layer, one in a row.
function makeTerms(terms) {
  const columns = ["input", "weight", "product"];
  const scales = columns.map((_, i) => largest(terms.map(({ input, factor, product }) => [input, factor, product][i])));
  const rows = terms.map(({ name, input, factor, product }) => {
    const cells = [input, factor, product].map((value, i) => {
      const cell = element("td", {}, decimals(value, 3));
      colour(cell, value, scales[i]);
      return cell;
    });
    return element("tr", {}, element("th", { scope: "row" }, name), cells);
  });
  const head = ["reads", "its value", "× weight", "= product"].map((text) => element("th", { scope: "col" }, text));
  return element(
    "table",
    { class: "numbers terms" },
    element("thead", {}, element("tr", {}, head)),
    element("tbody", {}, rows),
  );
}
