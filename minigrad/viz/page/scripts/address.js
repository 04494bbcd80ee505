// Keep what the reader chose in the fragment of the address, so that a link restores it.  A page in a notebook has no
// address of its own, about:srcdoc, and keeps nothing.

import { floats } from "./data.js";
import { LESSON_COUNT } from "./lessons.js";
import { limitsOfChange } from "./picture.js";

const PLAIN = ["image", "dx", "dy", "angle", "noise", "lesson"];
const LONGEST = 6000; // pixels of a drawing that fit into a link
const DELAY = 300; // milliseconds

function toText(bytes) {
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function toBase64(text) {
  return text.replaceAll("-", "+").replaceAll("_", "/");
}

// The bytes of a text, or null if it is damaged.
function fromText(text) {
  try {
    return Uint8Array.from(atob(toBase64(text)), (letter) => letter.charCodeAt(0));
  } catch {
    return null;
  }
}

export function writeState(lab) {
  const { state, edits, silenced } = lab.own();
  const parts = new URLSearchParams();
  for (const name of PLAIN) if (state[name]) parts.set(name, state[name]);
  if (state.drawing && state.drawing.length <= LONGEST)
    parts.set("drawing", toText(state.drawing.map((x) => Math.round(255 * x))));
  if (state.hidden) parts.set("hidden", toText(state.hidden));
  if (state.shuffled) parts.set("shuffled", 1);
  if (state.inPixels) parts.set("pixels", 1);
  if (state.frame !== null) parts.set("frame", state.frame);
  if (state.rivals) parts.set("rivals", state.rivals);
  const { layer, channel, row, col } = state.selection;
  parts.set("pixel", [layer, channel, row, col]);
  for (const { name, filter, weights, frozen } of edits.values()) {
    const code = toText(new Uint8Array(weights.slice().buffer));
    parts.append("edit", [encodeURIComponent(name), filter, code, ...(frozen ? ["frozen"] : [])]);
  }
  for (const [number, channels] of silenced)
    for (const channel of channels) parts.append("silent", [number, channel]);
  return parts.toString();
}

// A whole number from 0 to n - 1, or undefined.
function index(text, n) {
  const value = Number(text);
  return text !== null && text !== "" && Number.isInteger(value) && value >= 0 && value < n ? value : undefined;
}

function readNumbers(parts, lab) {
  const found = {};
  for (const [name, limit] of Object.entries(limitsOfChange(lab.shape))) {
    const value = Number(parts.get(name));
    found[name] = Number.isFinite(value) && Math.abs(value) <= limit ? value : 0;
  }
  found.image = index(parts.get("image"), lab.data.images.shape[0]) ?? 0;
  found.lesson = index(parts.get("lesson"), LESSON_COUNT) ?? 0;
  found.frame = (lab.data.tape && index(parts.get("frame"), lab.data.tape.steps.length)) ?? null;
  return found;
}

function readBytes(parts, name, n) {
  const bytes = parts.has(name) ? fromText(parts.get(name)) : null;
  return bytes?.length === n ? bytes : null;
}

function decodeName(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

function readEdits(parts, lab) {
  for (const text of parts.getAll("edit")) {
    const [code, filter, weights, kind] = text.split(",");
    const name = decodeName(code);
    const known = lab.network.weights.get(name);
    const bytes = fromText(weights ?? "");
    const each = known && known.data.length / known.shape[0];
    if (known && index(filter, known.shape[0]) !== undefined && bytes?.length === 4 * each) {
      const edit = { name, filter: Number(filter), weights: floats(toBase64(weights)), frozen: kind === "frozen" };
      lab.edits.set(`${name}:${filter}`, edit);
    }
  }
}

function readSilent(parts, lab) {
  for (const text of parts.getAll("silent")) {
    const [number, channel] = text.split(",").map(Number);
    const layer = lab.convolutions.find((each) => each.convolution.number === number);
    if (layer && index(String(channel), layer.shape[1]) !== undefined) lab.silence(number, channel, true);
  }
}

// Put the state of a fragment into the lab in place of its own; what is damaged or does not fit the model is left out.
export function readState(lab, fragment) {
  const parts = new URLSearchParams(fragment.replace(/^#/, ""));
  const [, H, W] = lab.shape;
  const drawing = readBytes(parts, "drawing", lab.data.images.data.length / lab.data.images.shape[0]);
  const rivals = (parts.get("rivals") ?? "").split(",").map((text) => index(text, lab.data.classes.length));
  Object.assign(lab.state, readNumbers(parts, lab), {
    drawing: drawing && Float32Array.from(drawing, (byte) => byte / 255),
    hidden: readBytes(parts, "hidden", H * W),
    shuffled: parts.has("shuffled"),
    inPixels: parts.has("pixels"),
    rivals: rivals.length === 2 && rivals.every((i) => i !== undefined) ? rivals : null,
  });
  lab.demonstration = null;
  lab.edits.clear();
  lab.network.silenced.clear();
  readEdits(parts, lab);
  readSilent(parts, lab);
  const [layer, channel, row, col] = (parts.get("pixel") ?? "").split(",").map((text) => index(text, 1e6));
  const known = lab.layers[layer] && col !== undefined;
  lab.select(known ? { layer, channel, row, col } : lab.firstSelection());
  for (const event of ["weights", "picture", "selection", "restored"]) lab.request(event);
}

export function keepState(lab) {
  if (location.protocol === "about:") return;
  let timer;
  lab.on("state", () => {
    clearTimeout(timer);
    timer = setTimeout(() => history.replaceState(null, "", `#${writeState(lab)}`), DELAY);
  });
}
