// Panel "What excites a filter": the parts of the images in the page to which each filter answers most.

import { button, choice, element, panel, replace, whenVisible } from "../dom.js";
import { findExciting, PLACES } from "../excitation.js";
import { receptiveField } from "../fields.js";
import { paintImage } from "../palette.js";
import { number, span } from "../words.js";

const MOST_FILTERS = 16;

export function makeExcitationPanel(lab) {
  if (!lab.convolutions.length) return null;
  const view = new ExcitationView(lab);
  const lead =
    "For each filter, the parts of the images in this page that give its largest values. Compare an early layer with " +
    "a later one.";
  const node = panel("excitation", "What excites a filter?", lead, view.controls, view.grid, view.told);
  whenVisible(node, () => view.found || view.searching || view.search());
  return node;
}

class ExcitationView {
  constructor(lab) {
    this.lab = lab;
    this.layer = 0; // number among the convolutions
    const options = lab.convolutions.map((layer, i) => [String(i), layer.name]);
    const layers = choice("Layer", options, "0", (value) => this.show(Number(value)), { id: "excitation-layer" });
    const again = button("Search again, with the filters as they are now", () => this.search());
    this.controls = element("div", { class: "controls" }, layers.node, again);
    this.grid = element("div", { class: "excitation" });
    this.told = element("p", { class: "note", "aria-live": "polite" });
    this.show(0);
  }

  async search() {
    const turn = (this.searching = {});
    this.told.textContent = "Searching the images…";
    const { network, data, convolutions } = this.lab;
    const found = await findExciting(network, data, convolutions, () => this.searching !== turn);
    if (!found) return;
    this.found = found;
    this.show(this.layer);
  }

  show(i) {
    this.layer = i;
    const layer = this.lab.convolutions[i];
    const shown = Math.min(layer.shape[1], MOST_FILTERS);
    const rows = Array.from({ length: shown }, (_, channel) => this.makeRow(layer, channel, this.found?.[i][channel]));
    replace(this.grid, ...rows);
    const rest = layer.shape[1] - shown;
    this.told.textContent =
      `Each part is what one pixel of ${layer.label} sees (its receptive field); grey lies outside of the picture. ` +
      `The number is the value of the map there.${rest ? ` The first ${shown} filters are shown.` : ""}`;
  }

  // Before the search has ended, the row has its final height, so that nothing on the page moves.
  makeRow(layer, channel, places) {
    const label = element("span", { class: "label" }, `filter ${channel}`);
    if (places?.length && places.every(({ value }) => value !== value))
      return element("div", {}, label, " its values are NaN, at all places of all images");
    const parts = places
      ? places.map((place) => this.makePart(layer, channel, place))
      : Array.from({ length: PLACES }, () => this.makeBlank(layer));
    return element("div", { class: "excited" }, label, parts);
  }

  makeBlank(layer) {
    const [height, width] = layer.fields ? layer.fields.map(([, , size]) => size) : this.lab.shape.slice(1);
    const canvas = element("canvas", { class: "map", width, height });
    return element("div", { class: "part", "aria-hidden": "true" }, canvas, element("span", {}, "…"));
  }

  makePart(layer, channel, { image, row, col, value }) {
    const { lab } = this;
    const canvas = element("canvas", { class: "map" });
    paintPart(canvas, lab, layer, image, row, col);
    const field = receptiveField(layer, row, col, lab.shape);
    const label = `image ${image}, ${span("row", ...field.rows)}, ${span("column", ...field.cols)}`;
    return element(
      "button",
      {
        type: "button",
        class: "part",
        title: label,
        "aria-label": `filter ${channel}: ${number(value)} at ${label}`,
        onclick: () => {
          lab.set({ image, drawing: null });
          lab.select({ layer: layer.number, channel, row, col });
        },
      },
      canvas,
      element("span", {}, number(value, 2)),
    );
  }
}

// Draw the part of an image that a pixel of a layer sees, with grey where it reaches over the edge.
function paintPart(canvas, lab, layer, image, row, col) {
  const [C, H, W] = lab.shape;
  const [down, across] = layer.fields ?? [
    [0, 0, H],
    [0, 0, W],
  ];
  const [top, left, height, width] = [down[0] + row * down[1], across[0] + col * across[1], down[2], across[2]];
  const pixels = lab.imagePixels(image);
  const part = Float32Array.from({ length: C * height * width }, (_, i) => {
    const h = top + (Math.floor(i / width) % height);
    const w = left + (i % width);
    const inside = h >= 0 && h < H && w >= 0 && w < W;
    return inside ? pixels[(Math.floor(i / (height * width)) * H + h) * W + w] : 0.6;
  });
  paintImage(canvas, part, [C, height, width]);
}
