// Read the data that Python put into the page.

import { makeTensor, size } from "./tensors.js";

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

export function floats(base64) {
  const { buffer } = bytesOf(base64);
  const view = new DataView(buffer);
  return Float32Array.from({ length: buffer.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
}

// An array as encoding.py writes it: numbers, or images as bytes that number the values of their channel.
export function decodeArray(encoded) {
  if ("float32" in encoded) return makeTensor(encoded.shape, floats(encoded.float32));
  const values = floats(encoded.values);
  const [, C, H, W] = encoded.shape;
  const channel = (i) => Math.floor(i / (H * W)) % C;
  return makeTensor(
    encoded.shape,
    Float32Array.from(bytesOf(encoded.bytes), (number, i) => values[256 * channel(i) + number]),
  );
}

// Frames (T, ...) of whole numbers, each frame with a scale of its own; NaN where there is no number.
export function decodeFrames({ shape, scales, int16 }) {
  const { buffer } = bytesOf(int16);
  const view = new DataView(buffer);
  const each = size(shape.slice(1));
  const numbers = Float32Array.from({ length: size(shape) }, (_, i) => {
    const value = view.getInt16(2 * i, true);
    return value === -32768 ? NaN : value * (scales[Math.floor(i / each)] ?? NaN);
  });
  return makeTensor(shape, numbers);
}

function decodeAll(arrays, decode = decodeArray) {
  return new Map(Object.entries(arrays).map(([name, array]) => [name, decode(array)]));
}

function decodeTape(tape) {
  return { ...tape, weights: decodeAll(tape.weights), gradients: decodeAll(tape.gradients, decodeFrames) };
}

export function decodeData(data) {
  return {
    ...data,
    weights: decodeAll(data.weights),
    images: decodeArray(data.images),
    check: data.check.map((check) => ({ ...check, data: floats(check.float32) })),
    steps: data.steps.map((step) => (step.stored ? { ...step, stored: decodeArray(step.stored) } : step)),
    tape: data.tape && decodeTape(data.tape),
  };
}

export function readData() {
  return decodeData(JSON.parse(document.getElementById("data").textContent));
}

// Item number i of a tensor whose first axis counts items.
export function item(tensor, i) {
  const each = size(tensor.shape.slice(1));
  return tensor.data.subarray(i * each, (i + 1) * each);
}
