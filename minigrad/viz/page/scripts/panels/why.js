// Panel "Why this answer?": all classes, one class against another, and what happens when parts are hidden.

import { button, choice, element, figure, panel, replace, slider } from "../dom.js";
import { pixelUnder } from "../fields.js";
import { paintImage, paintMap } from "../palette.js";
import { argmax, largest } from "../tensors.js";
import { decimals } from "../words.js";
import { bar, strongest } from "./answer.js";

const MOST_BARS = 20;

export function makeWhyPanel(lab) {
  const view = new WhyView(lab);
  return panel(
    "why",
    "Why this answer?",
    "Hide a part of the picture: if the answer drops, the network needed that part.",
    element(
      "div",
      { class: "why" },
      element("div", {}, element("h3", {}, "All classes"), view.bars),
      element("div", {}, element("h3", {}, "Hide with a brush"), view.makeBrush()),
      element("div", {}, element("h3", {}, "One class against another"), view.makeDuel()),
    ),
  );
}

class WhyView {
  constructor(lab) {
    this.lab = lab;
    this.radius = 2;
    this.bars = element("div", { class: "bars", id: "all-bars" });
    lab.on("values", () => this.draw());
  }

  draw() {
    const { lab } = this;
    const now = lab.probabilities;
    const none = lab.noAnswer;
    const hidden = lab.state.hidden && !none ? lab.scoresOf(lab.seen) : null;
    const before = hidden && lab.toProbabilities(hidden);
    const all = now && now.length <= MOST_BARS;
    const shown = none ? [] : all ? now.map((_, i) => i) : strongest(now, MOST_BARS);
    replace(
      this.bars,
      none ? element("p", {}, none) : null,
      ...shown.map((i) => bar(lab, i, now[i], before && before[i])),
      before ? element("p", { class: "note" }, "The dark line is the probability before hiding.") : null,
      none || all ? null : element("p", { class: "note" }, `The ${MOST_BARS} most probable of ${now.length} classes.`),
    );
    paintImage(this.sheet, lab.pixels, lab.shape);
    this.drawDuel();
  }

  // ---- the brush

  makeBrush() {
    const { lab } = this;
    this.sheet = element("canvas", {
      class: "map large brush",
      tabindex: 0,
      role: "application",
      id: "brush",
      "aria-label": "The picture. Arrow keys move the brush, space hides what is under it.",
    });
    this.spot = element("div", { class: "frame", hidden: true });
    this.cursor = { row: Math.floor(lab.shape[1] / 2), col: Math.floor(lab.shape[2] / 2) };
    const under = (event) => pixelUnder(event, this.sheet, lab.shape[1], lab.shape[2]);
    this.sheet.addEventListener("pointerdown", (event) => {
      this.sheet.setPointerCapture(event.pointerId);
      this.sweep((this.last = under(event)));
    });
    this.sheet.addEventListener("pointermove", (event) => event.buttons && this.last && this.sweep(under(event)));
    this.sheet.addEventListener("keydown", (event) => this.key(event));
    this.sheet.addEventListener("blur", () => (this.spot.hidden = true));
    const size = slider(
      "Brush",
      { min: 1, max: Math.max(2, Math.floor(lab.shape[1] / 5)), value: this.radius, format: (r) => `${2 * r + 1} px` },
      (r) => (this.radius = r),
    );
    return element(
      "div",
      {},
      element("div", { class: "layers" }, this.sheet, this.spot),
      size.node,
      button("Show everything again", () => lab.set({ hidden: null }), { id: "unhide" }),
    );
  }

  // Hide everything between the last place of the brush and this one.
  sweep(to) {
    const from = this.last;
    const steps = Math.max(Math.abs(to.row - from.row), Math.abs(to.col - from.col), 1);
    for (let i = 0; i <= steps; i++) {
      const between = (a, b) => Math.round(a + ((b - a) * i) / steps);
      this.hide({ row: between(from.row, to.row), col: between(from.col, to.col) });
    }
    this.last = to;
  }

  hide({ row, col }) {
    const [, H, W] = this.lab.shape;
    const hidden = this.lab.state.hidden?.slice() ?? new Uint8Array(H * W);
    for (let h = Math.max(0, row - this.radius); h <= Math.min(H - 1, row + this.radius); h++) {
      hidden.fill(1, h * W + Math.max(0, col - this.radius), h * W + Math.min(W - 1, col + this.radius) + 1);
    }
    this.lab.set({ hidden });
  }

  key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (!(event.key in moves) && event.key !== " ") return;
    event.preventDefault();
    const [, H, W] = this.lab.shape;
    if (event.key === " ") this.hide(this.cursor);
    else
      this.cursor = {
        row: Math.max(0, Math.min(H - 1, this.cursor.row + moves[event.key][0])),
        col: Math.max(0, Math.min(W - 1, this.cursor.col + moves[event.key][1])),
      };
    this.showSpot(H, W);
  }

  showSpot(H, W) {
    const side = 2 * this.radius + 1;
    this.spot.hidden = false;
    Object.assign(this.spot.style, {
      top: `${(100 * (this.cursor.row - this.radius)) / H}%`,
      left: `${(100 * (this.cursor.col - this.radius)) / W}%`,
      height: `${(100 * side) / H}%`,
      width: `${(100 * side) / W}%`,
    });
  }

  // ---- class against class

  makeDuel() {
    const { lab } = this;
    const options = lab.data.classes.map((name, i) => [String(i), name]);
    this.first = choice("Class", options, null, (value) => this.choose(0, value), { id: "rival-a" });
    this.second = choice("against", options, null, (value) => this.choose(1, value), { id: "rival-b" });
    this.margin = element("p", { class: "told" });
    this.heat = element("canvas", { class: "map large", role: "img" });
    this.button = button("Where does it matter?", () => this.scan(), { id: "scan" });
    return element(
      "div",
      {},
      element("div", { class: "controls" }, this.first.node, this.second.node),
      this.margin,
      this.button,
      figure("Orange: without this place, the first class leads by less. Blue: by more.", this.heat),
    );
  }

  // The two classes that the reader chose, or the two strongest.
  get rivals() {
    const scores = this.lab.scores;
    if (this.lab.state.rivals || !scores) return this.lab.state.rivals ?? [0, 0];
    const best = argmax(scores);
    return [best, argmax(scores.map((score, i) => (i === best ? -Infinity : score)))];
  }

  choose(side, value) {
    const rivals = [...this.rivals];
    rivals[side] = Number(value);
    this.lab.set({ rivals });
  }

  drawDuel() {
    const { lab } = this;
    const [a, b] = this.rivals;
    [this.first.input.value, this.second.input.value] = [String(a), String(b)];
    this.button.disabled = Boolean(lab.noAnswer);
    paintImage(this.heat, lab.pixels, lab.shape);
    this.heat.setAttribute("aria-label", "Not computed yet for this picture");
    this.margin.textContent = lab.noAnswer;
    if (lab.noAnswer) return;
    const gap = lab.scores[a] - lab.scores[b];
    this.margin.textContent =
      `Score ${decimals(lab.scores[a])} against ${decimals(lab.scores[b])}: ` +
      `${lab.classLabel(gap >= 0 ? a : b)} leads by ${decimals(Math.abs(gap))}.`;
  }

  // Hide a square at every place, and draw by how much the lead falls.
  scan() {
    const { lab } = this;
    const [, H, W] = lab.shape;
    const [a, b] = this.rivals;
    const lead = (scores) => (scores ? scores[a] - scores[b] : NaN);
    const whole = lead(lab.scoresOf(lab.pixels));
    const stride = Math.max(1, Math.ceil(Math.max(H, W) / 14));
    const heat = new Float32Array(H * W);
    for (let row = 0; row < H; row += stride) {
      for (let col = 0; col < W; col += stride) {
        const drop = whole - lead(lab.scoresOf(withoutSquare(lab, row, col, stride)));
        for (let h = row; h < Math.min(H, row + stride); h++)
          heat.fill(drop, h * W + col, h * W + Math.min(W, col + stride));
      }
    }
    paintMap(this.heat, heat, W, H, largest(heat));
    const most = argmax(heat);
    this.heat.setAttribute(
      "aria-label",
      `The lead depends most on row ${Math.floor(most / W)}, column ${most % W}: it falls by ${decimals(heat[most])}`,
    );
  }
}

// The pixels with a square of the background around a cell of the grid.
function withoutSquare({ pixels, shape: [C, H, W], background }, row, col, stride) {
  const copy = pixels.slice();
  for (let c = 0; c < C; c++) {
    for (let h = Math.max(0, row - stride); h < Math.min(H, row + 2 * stride); h++) {
      copy.fill(
        background[c],
        (c * H + h) * W + Math.max(0, col - stride),
        (c * H + h) * W + Math.min(W, col + 2 * stride),
      );
    }
  }
  return copy;
}
