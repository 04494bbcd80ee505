// The sheet to draw on: by mouse, finger, pen or keyboard.

import { button, checkbox, element } from "../dom.js";
import { paintImage } from "../palette.js";
import { adaptGround, cssColour } from "../picture.js";
import { count } from "../words.js";

const SIDE = 280; // pixels of the sheet
const PEN = 24; // pixels
const COLOURS = ["#ffffff", "#e53935", "#43a047", "#1e88e5", "#fdd835", "#000000"];
const STEP = 10; // pixels for an arrow key

export function makeSurface(lab, changed) {
  const surface = new Surface(lab, changed);
  return {
    node: surface.node,
    colours: lab.shape[0] === 3 ? surface.makeColours() : null,
    clear: () => surface.clear(),
    read: () => surface.report(),
    show: (bitmap) => surface.show(bitmap),
    message: (text) => (surface.note.textContent = text),
    invert: surface.invertBox.node,
    note: surface.note,
  };
}

class Surface {
  constructor(lab, changed) {
    this.lab = lab;
    this.changed = changed;
    this.colour = lab.background[0] > 0.5 ? COLOURS.at(-1) : COLOURS[0];
    this.cursor = { x: SIDE / 2, y: SIDE / 2, down: false };
    this.canvas = element("canvas", {
      width: SIDE,
      height: SIDE,
      tabindex: 0,
      id: "sheet",
      class: "sheet",
      role: "application",
      "aria-label": "Sheet to draw on. Arrow keys move the pen, space lowers and lifts it, Delete clears the sheet.",
    });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    Object.assign(this.context, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
    this.pen = element("div", { class: "pen", hidden: true });
    this.note = element("p", { class: "note", "aria-live": "polite" });
    this.invertBox = checkbox("Invert dark and bright", false, () => this.invert(), { id: "invert" });
    this.invertBox.node.hidden = lab.shape[0] === 3;
    this.node = element("div", { class: "layers" }, this.canvas, this.pen);
    this.listen();
    this.fill();
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.continue(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (this.last = null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => (this.pen.hidden = true));
    // a picked or restored picture is shown on the sheet; a drawing is there already
    this.lab.on("picture", () => this.lab.state.drawing === this.mine || this.showPicture());
  }

  fill() {
    this.context.fillStyle = cssColour(this.lab.background);
    this.context.fillRect(0, 0, SIDE, SIDE);
  }

  // An empty sheet, about which there is nothing to say.
  startAnew() {
    this.fill();
    this.note.textContent = "";
    this.invertBox.input.checked = false;
  }

  clear() {
    this.startAnew();
    this.report();
  }

  report() {
    this.changed(this.canvas);
    this.mine = this.lab.state.drawing;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * SIDE, y: ((event.clientY - box.top) / box.height) * SIDE };
  }

  begin(event) {
    if (event.button) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    // a first stroke over an image of the page starts a new drawing
    if (!this.lab.state.drawing) this.startAnew();
    this.last = this.place(event);
    this.line(this.last, this.last);
  }

  continue(event) {
    if (!this.last) return;
    const moves = event.getCoalescedEvents?.() ?? [];
    for (const move of moves.length ? moves : [event]) {
      const next = this.place(move);
      this.line(this.last, next, false);
      this.last = next;
    }
    this.report();
  }

  line(from, to, report = true) {
    this.context.strokeStyle = this.colour;
    this.context.beginPath();
    this.context.moveTo(from.x, from.y);
    this.context.lineTo(to.x, to.y + 0.01);
    this.context.stroke();
    if (report) this.report();
  }

  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in moves) this.moveCursor(...moves[event.key]);
    else if (event.key === " ") this.lowerPen();
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else return;
    event.preventDefault();
    this.showPen();
  }

  lowerPen() {
    this.cursor.down = !this.cursor.down;
    if (!this.cursor.down) return;
    if (!this.lab.state.drawing) this.startAnew();
    this.line(this.cursor, this.cursor);
  }

  moveCursor(right, down) {
    const before = { ...this.cursor };
    this.cursor.x = Math.max(0, Math.min(SIDE, before.x + STEP * right));
    this.cursor.y = Math.max(0, Math.min(SIDE, before.y + STEP * down));
    if (this.cursor.down) this.line(before, this.cursor);
  }

  showPen() {
    this.pen.hidden = false;
    this.pen.classList.toggle("down", this.cursor.down);
    this.pen.style.left = `${(100 * this.cursor.x) / SIDE}%`;
    this.pen.style.top = `${(100 * this.cursor.y) / SIDE}%`;
  }

  // Fill the sheet with the middle square of an image that was loaded.
  show(bitmap) {
    const side = Math.min(bitmap.width, bitmap.height);
    const [x, y] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
    this.fill(); // under a picture that is transparent
    this.context.drawImage(bitmap, x, y, side, side, 0, 0, SIDE, SIDE);
    const found = this.lab.shape[0] === 3 ? {} : this.adapt();
    this.invertBox.input.checked = Boolean(found.inverted);
    this.note.textContent = [tellCut(bitmap), tellAdapted(found)].filter(Boolean).join(" ");
    this.report();
  }

  // Ink on paper becomes ink on the background of the pictures of the page.
  adapt() {
    const picture = this.context.getImageData(0, 0, SIDE, SIDE);
    const found = adaptGround(picture, this.lab.background[0]);
    this.context.putImageData(picture, 0, 0);
    return found;
  }

  invert() {
    const picture = this.context.getImageData(0, 0, SIDE, SIDE);
    for (let i = 0; i < picture.data.length; i++) if (i % 4 !== 3) picture.data[i] = 255 - picture.data[i];
    this.context.putImageData(picture, 0, 0);
    this.report();
  }

  showPicture() {
    const { canvas } = (this.small ??= { canvas: document.createElement("canvas") });
    paintImage(canvas, this.lab.basePixels(), this.lab.shape);
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(canvas, 0, 0, SIDE, SIDE);
    this.context.imageSmoothingEnabled = true;
    this.mine = this.lab.state.drawing;
    this.note.textContent = "";
    this.invertBox.input.checked = false;
  }

  makeColours() {
    return element(
      "span",
      { class: "colours" },
      COLOURS.map((colour) => {
        const made = button("", () => (this.colour = colour), { "aria-label": `Pen ${colour}`, class: "colour" });
        made.style.background = colour;
        return made;
      }),
    );
  }
}

// What the sheet does not show of a picture that is no square.
function tellCut({ width, height }) {
  const cut = Math.abs(width - height);
  if (!cut) return "";
  const [line, sides] = width > height ? ["column", "left and right"] : ["row", "at the top and bottom"];
  return `The middle square is used: ${count(cut, line)} ${sides} ${cut === 1 ? "is" : "are"} cut off.`;
}

function tellAdapted({ inverted, levelled }) {
  if (inverted === undefined) return "";
  if (inverted) return "Dark and bright are exchanged, because the images of this page have the other ground.";
  return levelled ? "The ground gets the brightness that the images of this page have." : "";
}
