// Sliding windows: convolution and pooling.  x is (1, C, H, W); pads are top, bottom, left, right.

import { makeTensor } from "../tensors.js";
import { operation } from "./registry.js";

// The outputs o with 0 <= o * stride + offset < size, as [first, end].
function reach(offset, stride, size, outputs) {
  const first = Math.max(0, Math.ceil(-offset / stride));
  const end = Math.min(outputs, Math.floor((size - 1 - offset) / stride) + 1);
  return [first, Math.max(first, end)];
}

// Add weight * (one channel, seen through one place of the window) to a plane of sums.
function addShifted(sums, x, base, sizes, place, weight) {
  const { W, OW, SH, SW } = sizes;
  const { row, col, rows, cols } = place;
  if (place.isRun) {
    const shift = base + row * W + col;
    for (let to = rows[0] * OW, end = rows[1] * OW; to < end; to++) sums[to] += weight * x[shift + to];
    return;
  }
  for (let oh = rows[0]; oh < rows[1]; oh++) {
    let from = base + (oh * SH + row) * W + cols[0] * SW + col;
    const end = oh * OW + cols[1];
    for (let to = oh * OW + cols[0]; to < end; to++, from += SW) sums[to] += weight * x[from];
  }
}

// For each place of the window: its offset on the input, and the outputs for which it lies inside the image; and whether
// these outputs, and what they read, are one run in memory, as for windows of 1x1.
function windowPlaces(KH, KW, sizes, pads, dilation) {
  const { H, W, OH, OW, SH, SW } = sizes;
  const found = [];
  for (let kh = 0; kh < KH; kh++) {
    for (let kw = 0; kw < KW; kw++) {
      const row = kh * dilation[0] - pads[0];
      const col = kw * dilation[1] - pads[2];
      const [rows, cols] = [reach(row, SH, H, OH), reach(col, SW, W, OW)];
      const isRun = SH === 1 && SW === 1 && W === OW && cols[0] === 0 && cols[1] === OW;
      found.push({ row, col, rows, cols, isRun });
    }
  }
  return found;
}

export function conv2d([x, weight, bias], settings, shape) {
  const [F, C, KH, KW] = weight.shape;
  const [, , H, W] = x.shape;
  const [, , OH, OW] = shape;
  const sizes = { H, W, OH, OW, SH: settings.stride[0], SW: settings.stride[1] };
  const places = windowPlaces(KH, KW, sizes, settings.pads, settings.dilation);
  const out = makeTensor(shape);
  const sums = new Float64Array(OH * OW);
  for (let f = 0; f < F; f++) {
    sums.fill(bias ? bias.data[f] : 0);
    const firstChannel = Math.floor(f / (F / settings.groups)) * C;
    for (let c = 0; c < C; c++) {
      const base = (firstChannel + c) * H * W;
      const first = (f * C + c) * KH * KW;
      for (let k = 0; k < places.length; k++) {
        const w = weight.data[first + k];
        if (w !== 0) addShifted(sums, x.data, base, sizes, places[k], w);
      }
    }
    out.data.set(sums, f * OH * OW);
  }
  return out;
}

// Call visit(plane, oh, ow, output index) for every window of every channel.
function eachWindow(x, shape, visit) {
  const [, C, OH, OW] = shape;
  const HW = x.shape[2] * x.shape[3];
  for (let c = 0, i = 0; c < C; c++) {
    const plane = x.data.subarray(c * HW, (c + 1) * HW);
    for (let oh = 0; oh < OH; oh++) {
      for (let ow = 0; ow < OW; ow++, i++) visit(plane, oh, ow, i);
    }
  }
}

export function maxPool2d([x], settings, shape) {
  const [, , H, W] = x.shape;
  const { window, stride, pads, dilation } = settings;
  const out = makeTensor(shape);
  eachWindow(x, shape, (plane, oh, ow, i) => {
    let best = -Infinity;
    for (let kh = 0; kh < window[0]; kh++) {
      const h = oh * stride[0] - pads[0] + kh * dilation[0];
      if (h < 0 || h >= H) continue;
      for (let kw = 0; kw < window[1]; kw++) {
        const w = ow * stride[1] - pads[2] + kw * dilation[1];
        if (w < 0 || w >= W) continue;
        const value = plane[h * W + w];
        if (value > best || value !== value) best = value;
      }
    }
    out.data[i] = best;
  });
  return out;
}

// The pixels of a window along one axis: inside the image, and with padding.
function span(o, stride, before, window, size, after) {
  const start = o * stride - before;
  const end = Math.min(start + window, size + after);
  return { start: Math.max(start, 0), end: Math.min(end, size), padded: end - start };
}

export function avgPool2d([x], settings, shape) {
  const [, , H, W] = x.shape;
  const { window, stride, pads } = settings;
  const out = makeTensor(shape);
  eachWindow(x, shape, (plane, oh, ow, i) => {
    const rows = span(oh, stride[0], pads[0], window[0], H, pads[1]);
    const cols = span(ow, stride[1], pads[2], window[1], W, pads[3]);
    let sum = 0;
    for (let h = rows.start; h < rows.end; h++) {
      for (let w = cols.start; w < cols.end; w++) sum += plane[h * W + w];
    }
    const inside = (rows.end - rows.start) * (cols.end - cols.start);
    const counted = settings.count_include_pad ? rows.padded * cols.padded : inside;
    out.data[i] = sum / (settings.divisor ?? counted);
  });
  return out;
}

operation("conv2d", conv2d);
operation("max_pool2d", maxPool2d);
operation("avg_pool2d", avgPool2d);
