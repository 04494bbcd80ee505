// Panels "Your picture": draw, load or pick an image; and "Change the picture".

import { button, checkbox, element, figure, panel, slider } from "../dom.js";
import { placeFrame, receptiveField } from "../fields.js";
import { paintImage } from "../palette.js";
import { centreOfMass, isLikeDigits, limitsOfChange, readDrawing } from "../picture.js";
import { makeSurface } from "./surface.js";
import { decimals, span } from "../words.js";

const THUMBNAILS = 24; // drawn at first, and with each further press of the button

export function makeInputPanel(lab) {
  const surface = makeSurface(lab, (canvas) =>
    lab.set({ drawing: readDrawing(canvas, lab.shape, centre.input.checked, lab.background) }),
  );
  const isDigit = isLikeDigits(lab.shape);
  const centre = checkbox(
    isDigit ? "Centre it as MNIST does" : "Centre it",
    lab.shape[0] === 1,
    () => lab.state.drawing && surface.read(),
    { id: "centre" },
  );
  const words = isDigit ? "Draw a digit here with mouse or finger" : "Draw here with mouse or finger";
  return panel(
    "input",
    "Your picture",
    "Draw, pick an image or load a file. Everything on this page follows.",
    element("div", { class: "pictures" }, figure(words, surface.node), makeSeen(lab)),
    element(
      "div",
      { class: "buttons" },
      button("Clear", surface.clear, { id: "clear" }),
      surface.colours,
      fileButton(surface),
    ),
    surface.note,
    centre.node,
    surface.invert,
    makeThumbnails(lab),
  );
}

// What the network reads, with the frame of what the pointed-at pixel sees.
function makeSeen(lab) {
  const [, H, W] = lab.shape;
  const canvas = element("canvas", { role: "img", id: "seen", class: "map" });
  const frame = element("div", { class: "frame", hidden: true });
  const cross = element("div", { class: "cross", title: "centre of mass" });
  const scaled = isLikeDigits(lab.shape) ? "MNIST scales digits into this box" : "drawings are scaled into this box";
  const box = element("div", { class: "box", title: scaled });
  const caption = element("figcaption", {});
  lab.on("values", () => {
    paintImage(canvas, lab.pixels, lab.shape);
    describeSeen(lab, canvas, cross, caption);
  });
  const point = () => {
    const { layer, channel, row, col } = lab.pointed ?? lab.state.selection;
    const field = receptiveField(lab.layers[layer], row, col, lab.shape);
    placeFrame(frame, field.rows, field.cols, H, W);
    frame.title = `what channel ${channel} sees: ${span("row", ...field.rows)}`;
  };
  lab.on("pointed selection values", point);
  placeFrame(box, ...centralBox(H, W), H, W);
  box.hidden = lab.shape[0] !== 1;
  return element("figure", {}, element("div", { class: "layers" }, canvas, box, cross, frame), caption);
}

function centralBox(H, W) {
  const side = (20 / 28) * Math.min(28, H, W);
  return [
    [(H - side) / 2, (H + side) / 2],
    [(W - side) / 2, (W + side) / 2],
  ];
}

function describeSeen(lab, canvas, cross, caption) {
  const [C, H, W] = lab.shape;
  const { sum, y, x } = centreOfMass(lab.pixels, lab.shape, lab.background);
  cross.hidden = !(sum > 0) || C !== 1;
  cross.style.top = `${(100 * (y + 0.5)) / H}%`;
  cross.style.left = `${(100 * (x + 0.5)) / W}%`;
  const marks = `. Cross: centre of mass. Dashed: the box ${isLikeDigits(lab.shape) ? "of MNIST" : "for drawings"}`;
  caption.textContent = `What the network reads: ${H}×${W} pixels${C > 1 ? `, ${C} channels` : marks}`;
  const middle = sum > 0 ? `, centre of mass at row ${decimals(y, 1)}, column ${decimals(x, 1)}` : ", empty";
  canvas.setAttribute("aria-label", caption.textContent + middle);
}

function fileButton(surface) {
  const input = element("input", { type: "file", accept: "image/*", class: "hidden-input", id: "file" });
  input.addEventListener("change", async () => {
    if (!input.files.length) return;
    try {
      surface.show(await createImageBitmap(input.files[0]));
    } catch {
      surface.message(`${input.files[0].name} is not an image that this browser can read.`);
    }
  });
  return element("label", { class: "button", for: "file" }, "Load a file", input);
}

function makeThumbnails(lab) {
  const total = lab.data.images.shape[0];
  const row = element("div", { class: "thumbnails", role: "group", "aria-label": "Images in this page" });
  const more = button("", () => add(THUMBNAILS), { class: "more", id: "more-images" });
  const mark = (thumbnail, i) =>
    thumbnail.setAttribute("aria-pressed", !lab.state.drawing && lab.state.image === i);
  const add = (n) => {
    const shown = row.querySelectorAll(".thumbnail").length;
    const end = Math.min(total, shown + n);
    const made = Array.from({ length: end - shown }, (_, k) => makeThumbnail(lab, shown + k));
    made.forEach((thumbnail, k) => mark(thumbnail, shown + k));
    more.remove();
    row.append(...made);
    more.textContent = `+${Math.min(THUMBNAILS, total - end)}`;
    more.setAttribute("aria-label", `Show more images: ${end} of ${total} are shown`);
    if (end < total) row.append(more);
  };
  lab.on("picture", () => {
    const shown = row.querySelectorAll(".thumbnail");
    if (lab.state.image >= shown.length) add(lab.state.image + 1 - shown.length);
    row.querySelectorAll(".thumbnail").forEach(mark);
  });
  add(THUMBNAILS);
  return row;
}

function makeThumbnail(lab, i) {
  const canvas = element("canvas", { class: "map" });
  paintImage(canvas, lab.imagePixels(i), lab.shape);
  const label = lab.data.labels ? `, ${lab.classLabel(lab.data.labels[i])}` : "";
  return element(
    "button",
    {
      type: "button",
      class: "thumbnail",
      "aria-label": `Image ${i}${label}`,
      title: `image ${i}${label}`,
      onclick: () => lab.set({ image: i, drawing: null }),
    },
    canvas,
  );
}

// Panel "Change the picture": sliders that shift, turn and spoil it.
export function makeChangesPanel(lab) {
  const most = limitsOfChange(lab.shape);
  const pixels = (n) => `${n > 0 ? "+" : n < 0 ? "−" : ""}${Math.abs(n)} px`;
  const wanted = {
    dx: ["Shift right", { min: -most.dx, max: most.dx, format: pixels }],
    dy: ["Shift down", { min: -most.dy, max: most.dy, format: pixels }],
    angle: ["Rotate", { min: -most.angle, max: most.angle, step: 5, format: (n) => `${n}°`.replace("-", "−") }],
    noise: ["Noise", { min: 0, max: most.noise, step: 0.05, format: (n) => decimals(n, 2) }],
  };
  const sliders = Object.entries(wanted).map(([name, [label, settings]]) => {
    const made = slider(label, { ...settings, value: lab.state[name], id: `change-${name}` }, (value) =>
      lab.set({ [name]: value }),
    );
    lab.on("picture", () => made.set(lab.state[name]));
    return made.node;
  });
  const shuffled = checkbox("Shuffle the pixels", lab.state.shuffled, (value) => lab.set({ shuffled: value }), {
    id: "shuffle",
  });
  lab.on("picture", () => (shuffled.input.checked = lab.state.shuffled));
  return panel(
    "changes",
    "Change the picture",
    null,
    ...sliders,
    shuffled.node,
    button("Undo these changes", () => lab.resetChanges(), { id: "undo-changes" }),
  );
}
