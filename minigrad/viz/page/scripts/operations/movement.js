// Operations that only move elements.

import { broadcastStrides, gather, makeTensor, places, size, strides } from "../tensors.js";
import { asNumber, operation } from "./registry.js";

function permute([x], { axes }, shape) {
  const steps = strides(x.shape);
  return gather(
    x,
    shape,
    places(
      shape,
      axes.map((axis) => steps[axis]),
    ),
  );
}

// The start, step and length of one axis of a basic index; an integer takes one element and removes the axis.
function takeAxis(part, n) {
  if (typeof part === "number") return { start: part < 0 ? part + n : part, step: 1, length: 1 };
  const [start, stop, step] = part.slice;
  const by = step ?? 1;
  const bound = (value, missing) =>
    value === null ? missing : Math.min(Math.max(value < 0 ? value + n : value, 0), n);
  const first = bound(start, 0);
  return { start: first, step: by, length: Math.max(0, Math.ceil((bound(stop, n) - first) / by)) };
}

function index([x], { key }, shape) {
  const steps = strides(x.shape);
  const whole = { slice: [null, null, null] };
  const taken = x.shape.map((n, axis) => takeAxis(key[axis] ?? whole, n));
  const first = taken.reduce((sum, { start }, axis) => sum + start * steps[axis], 0);
  return gather(
    x,
    shape,
    places(
      taken.map((t) => t.length),
      taken.map((t, axis) => t.step * steps[axis]),
      first,
    ),
  );
}

function pad([x], { widths, value }, shape) {
  const out = makeTensor(shape);
  out.data.fill(asNumber(value));
  const steps = strides(shape);
  const first = widths.reduce((sum, [before], axis) => sum + before * steps[axis], 0);
  places(x.shape, steps, first).forEach((place, i) => {
    out.data[place] = x.data[i];
  });
  return out;
}

function cat(inputs, { axis }, shape) {
  const out = makeTensor(shape);
  const inner = size(shape.slice(axis + 1));
  const outer = size(shape.slice(0, axis));
  let offset = 0;
  for (const x of inputs) {
    const run = x.shape[axis] * inner;
    for (let o = 0; o < outer; o++) {
      out.data.set(x.data.subarray(o * run, (o + 1) * run), o * shape[axis] * inner + offset);
    }
    offset += run;
  }
  return out;
}

operation("reshape", ([x], settings, shape) => makeTensor(shape, x.data));
operation("permute", permute);
operation("expand", ([x], settings, shape) => gather(x, shape, places(shape, broadcastStrides(x.shape, shape))));
operation("index", index);
operation("pad", pad);
operation("cat", cat);
operation("clone", ([x]) => x);
