// Panel "One pixel": the arithmetic of the selected pixel, with the window on the input and the pixel on the output.

import { explainPixel, followPixel, inPixelValues } from "../arithmetic.js";
import { button, checkbox, choice, drawWhenSeen, element, named, panel, replace } from "../dom.js";
import { pixelUnder, placeFrame } from "../fields.js";
import { colourOf, paintMap } from "../palette.js";
import { largest, plane } from "../tensors.js";
import { decimals, number, sizes } from "../words.js";

const MOST_NUMBERS = 49; // larger windows have no numbers in their cells
const PAUSE = 120; // milliseconds between two positions of the sliding window

export function makePixelPanel(lab) {
  if (!lab.convolutions.length) {
    return panel("pixel", "One pixel, step by step", "This model has no convolution, so there is no window to slide.");
  }
  const view = new PixelView(lab);
  return panel(
    "pixel",
    "One pixel, step by step",
    "Click a pixel of a map. The window on the left times the filter, added up, is the pixel on the right.",
    view.controls,
    view.maps,
    view.body,
  );
}

class PixelView {
  constructor(lab) {
    this.lab = lab;
    this.timer = null;
    this.shown = null; // while the window slides: the last pixel that is shown
    this.channel = null; // the input channel that the reader chose; null: the strongest
    this.controls = this.makeControls();
    this.maps = this.makeMaps();
    this.body = element("div", { class: "arithmetic", "aria-live": "off" });
    drawWhenSeen(this.controls, lab, "values selection", () => this.draw());
  }

  // The selected layer if it is a convolution, else the last one before it.
  get layer() {
    const { layer } = this.lab.state.selection;
    const before = this.lab.convolutions.filter((each) => each.number <= layer);
    return before.at(-1) ?? this.lab.convolutions[0];
  }

  // Row and column of the layer's output that belongs to the selected pixel.
  get pixel() {
    const { layer: number, channel, row, col } = this.lab.state.selection;
    const { shape } = this.layer;
    const selected = this.lab.layers[number];
    const from = selected.isMap ? selected.shape.slice(2) : [1, 1];
    const scaled = [row, col].map((place, axis) => Math.floor((place * shape[2 + axis]) / from[axis]));
    return { channel: Math.min(channel, shape[1] - 1), row: scaled[0], col: scaled[1] };
  }

  makeControls() {
    const { lab } = this;
    const options = lab.convolutions.map((layer) => [String(layer.number), layer.name]);
    this.layerChoice = choice(
      "Layer",
      options,
      null,
      (value) => {
        this.channel = null;
        lab.select({ layer: Number(value) });
      },
      { id: "pixel-layer" },
    );
    this.filterChoice = choice(
      "Filter",
      [],
      null,
      (value) => lab.select({ layer: this.layer.number, ...this.pixel, channel: Number(value) }),
      { id: "pixel-filter" },
    );
    this.inputChoice = choice(
      "Input channel",
      [],
      null,
      (value) => {
        this.channel = value === "" ? null : Number(value);
        this.draw();
      },
      { id: "pixel-input" },
    );
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

  makeMaps() {
    this.input = this.makeMap("what the layer reads", () => {});
    this.output = this.makeMap("what it writes; click or use the arrow keys", (event) => {
      const [, , H, W] = this.layer.shape;
      this.lab.select({
        layer: this.layer.number,
        channel: this.pixel.channel,
        ...pixelUnder(event, this.output.canvas, H, W),
      });
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
    const { channel, row, col } = this.pixel;
    const [down, right] = moves[event.key];
    this.lab.select({ layer: this.layer.number, channel, row: row + down, col: col + right });
  }

  // ---- sliding

  start() {
    const [, , H, W] = this.layer.shape;
    this.shown = 0;
    this.play.textContent = "Stop";
    this.timer = setInterval(() => {
      this.moveTo(this.shown);
      if (++this.shown >= H * W) this.stop();
    }, PAUSE);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = this.shown = null;
    this.play.textContent = "▶ Slide the window";
    this.draw();
  }

  step(by) {
    const W = this.layer.shape[3];
    const { row, col } = this.pixel;
    this.moveTo(row * W + col + by);
  }

  moveTo(place) {
    const [, , H, W] = this.layer.shape;
    const next = (place + H * W) % (H * W);
    this.lab.select({
      layer: this.layer.number,
      channel: this.pixel.channel,
      row: Math.floor(next / W),
      col: next % W,
    });
  }

  // ---- drawing

  draw() {
    const { lab, layer } = this;
    const { channel, row, col } = this.pixel;
    const input = lab.inputOf(layer.convolution);
    const output = lab.valueOf(layer);
    if (!input || !output) {
      replace(this.body, "This layer is not computed for your picture.");
      return;
    }
    const normal = explainPixel(lab, layer, channel, row, col);
    this.fillChoices(normal, channel);
    const shown = this.shownChannel(normal);
    this.drawInput(input, normal, shown);
    this.drawOutput(output, channel, row, col);
    const inPixels = lab.state.inPixels && normal.readsPicture;
    const explained = inPixels ? inPixelValues(lab, normal) : normal;
    replace(this.body, ...this.describe(explained, shown, { layer, channel, row, col, inPixels }));
  }

  shownChannel(explained) {
    const strongest = explained.channels.reduce(
      (best, c, i, all) => (Math.abs(c.sum) > Math.abs(all[best].sum) ? i : best),
      0,
    );
    return this.channel !== null && this.channel < explained.channels.length ? this.channel : strongest;
  }

  fillChoices(explained, channel) {
    const { layer } = this;
    const filters = Array.from({ length: layer.shape[1] }, (_, f) =>
      element("option", { value: f, selected: f === channel }, f),
    );
    const strongest = element("option", { value: "", selected: this.channel === null }, "strongest");
    const inputs = explained.channels.map((c, i) =>
      element("option", { value: i, selected: i === this.channel }, c.channel),
    );
    this.layerChoice.input.value = String(layer.number);
    replace(this.filterChoice.input, ...filters);
    replace(this.inputChoice.input, strongest, ...inputs);
    this.inputChoice.node.hidden = explained.channels.length === 1;
    this.units.node.hidden = !explained.readsPicture;
    this.units.input.checked = this.lab.state.inPixels;
  }

  drawInput(input, explained, shown) {
    const [, , H, W] = input.shape;
    const { rows, cols, channels } = explained;
    const { canvas, frame, text } = this.input;
    paintMap(canvas, plane(input, channels[shown].channel), W, H, largest(input.data));
    placeFrame(frame, [rows[0], rows.at(-1) + 1], [cols[0], cols.at(-1) + 1], H, W);
    this.drawPadding(H, W);
    const name = explained.readsPicture ? "the normalised picture" : "the layer before";
    text.textContent = `reads: ${name}, channel ${channels[shown].channel}, ${H}×${W}. Framed: the window${this.layer.convolution.step.settings.pads.some(Boolean) ? ". Hatched: zero padding" : ""}`;
    canvas.setAttribute(
      "aria-label",
      `${text.textContent}, rows ${rows[0]} to ${rows.at(-1)}, columns ${cols[0]} to ${cols.at(-1)}`,
    );
  }

  // The hatched margin has the size of the padding.
  drawPadding(H, W) {
    const [top, bottom, left, right] = this.layer.convolution.step.settings.pads;
    const share = (n) => `${(100 * n) / (W + left + right)}%`;
    this.input.padding.style.padding = [top, right, bottom, left].map(share).join(" ");
  }

  drawOutput(output, channel, row, col) {
    const [, , H, W] = output.shape;
    const { canvas, frame, text } = this.output;
    const data = plane(output, channel);
    const visible = this.shown === null ? data : data.map((value, i) => (i <= row * W + col ? value : 0));
    paintMap(canvas, visible, W, H, largest(output.data));
    placeFrame(frame, [row, row + 1], [col, col + 1], H, W);
    text.textContent = `writes: map ${channel}, ${H}×${W}. Framed: row ${row}, column ${col}`;
    canvas.setAttribute("aria-label", `${text.textContent}. Arrow keys choose another pixel.`);
  }

  describe(explained, shown, where) {
    const one = explained.channels[shown];
    const many = explained.channels.length > 1;
    const [KH, KW] = explained.window;
    const scales = [one.patch, one.filter, one.products].map(largest);
    const places = where.inPixels ? [0, 4, 2] : [2, 2, 2];
    const read = where.inPixels ? "pixels" : "window";
    return [
      element(
        "div",
        { class: "tables" },
        makeTable(
          `${read}${many ? `, channel ${one.channel}` : ""}`,
          one.patch,
          one.inside,
          KH,
          KW,
          scales[0],
          places[0],
        ),
        element("span", { class: "sign" }, "×"),
        makeTable("filter", one.filter, null, KH, KW, scales[1], places[1]),
        element("span", { class: "sign" }, "="),
        makeTable("products", one.products, null, KH, KW, scales[2], places[2]),
      ),
      element("ol", { class: "sums" }, this.lines(explained, one, many, where)),
    ];
  }

  lines(explained, one, many, where) {
    const list = [];
    const KK = explained.window[0] * explained.window[1];
    list.push(line(`Sum of the ${KK} products${many ? ` of channel ${one.channel}` : ""}`, one.sum));
    if (many) list.push(line(`Sum over all ${explained.channels.length} input channels`, explained.sum));
    if (explained.constant !== undefined)
      list.push(line("Constant, because pixels are normalised: −(filter × mean ÷ std)", explained.constant));
    if (explained.bias !== null) list.push(line("Bias", explained.bias));
    list.push(
      line(
        explained.silent ? "The filter is silenced: the pixel is" : "Together: the pixel is",
        explained.value,
        "total",
      ),
    );
    const { chain, next, step } = followPixel(this.lab, where.layer, where.channel, where.row, where.col);
    for (const { layer, value } of chain) list.push(line(["then ", named(layer.name), " makes it"], value));
    if (next)
      list.push(
        element(
          "li",
          {},
          element(
            "span",
            {},
            "then ",
            named(next.name),
            ` (${next.kind}) reads it`,
            step.op === "max_pool2d" ? " and keeps the largest of each window" : "",
          ),
        ),
      );
    return list;
  }
}

function line(text, value, kind = "") {
  return element("li", { class: kind }, element("span", {}, text), element("b", {}, number(value, 4)));
}

// A grid of coloured numbers; places outside of the input are padding.
function makeTable(caption, values, inside, KH, KW, scale, places) {
  const rows = Array.from({ length: KH }, (_, h) =>
    element(
      "tr",
      {},
      Array.from({ length: KW }, (_, w) =>
        makeCell(values[h * KW + w], inside?.[h * KW + w] ?? true, scale, KH * KW <= MOST_NUMBERS ? places : null),
      ),
    ),
  );
  return element(
    "table",
    { class: "numbers" },
    element("caption", {}, `${caption}, ${sizes([KH, KW])}`),
    element("tbody", {}, rows),
  );
}

function makeCell(value, inside, scale, places) {
  const text = places === null ? "" : inside ? decimals(value, places) : "pad";
  const cell = element("td", { class: inside ? "" : "padding" }, text);
  if (inside) {
    const { background, dark } = colourOf(value, scale);
    cell.style.background = background;
    cell.style.color = dark ? "#fff" : "#222";
  }
  return cell;
}
