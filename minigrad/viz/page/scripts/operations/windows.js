// Sliding windows: convolution and pooling.  x is (1, C, H, W); pads are top, bottom, left, right.

import { makeTensor } from "../tensors.js";
import { operation } from "./registry.js";

const MOST_COLUMNS = 1e6; // numbers of an unfolded input; more are unfolded in parts

// The outputs o with 0 <= o * stride + offset < size, as [first, end].
function reach(offset, stride, size, outputs) {
  const first = Math.max(0, Math.ceil(-offset / stride));
  const end = Math.min(outputs, Math.floor((size - 1 - offset) / stride) + 1);
  return [first, Math.max(first, end)];
}

// What every place of the window reads of one channel: a row of OH * OW pixels for each place, 0 in the padding.
function unfold(x, base, [H, W], [KH, KW], [OH, OW], { stride, pads, dilation }, columns) {
  columns.fill(0);
  for (let kh = 0, k = 0; kh < KH; kh++) {
    for (let kw = 0; kw < KW; kw++, k++) {
      const row = kh * dilation[0] - pads[0];
      const col = kw * dilation[1] - pads[2];
      const rows = reach(row, stride[0], H, OH);
      const cols = reach(col, stride[1], W, OW);
      for (let oh = rows[0]; oh < rows[1]; oh++) {
        let from = base + (oh * stride[0] + row) * W + cols[0] * stride[1] + col;
        const first = (k * OH + oh) * OW;
        for (let ow = cols[0]; ow < cols[1]; ow++, from += stride[1]) columns[first + ow] = x[from];
      }
    }
  }
}

// sums += weights @ columns, for K rows of n numbers; four rows at once, because reading and writing sums is slow.
function addRows(sums, to, columns, n, weights, first, K) {
  let k = 0;
  for (; k + 4 <= K; k += 4) {
    const [w0, w1, w2, w3] = [
      weights[first + k],
      weights[first + k + 1],
      weights[first + k + 2],
      weights[first + k + 3],
    ];
    for (let i = 0, a = k * n, b = a + n, c = b + n, d = c + n; i < n; i++) {
      sums[to + i] += w0 * columns[a + i] + w1 * columns[b + i] + w2 * columns[c + i] + w3 * columns[d + i];
    }
  }
  for (; k < K; k++) {
    const w = weights[first + k];
    for (let i = 0, a = k * n; i < n; i++) sums[to + i] += w * columns[a + i];
  }
}

export function conv2d([x, weight, bias], settings, shape) {
  const [F, C, KH, KW] = weight.shape;
  const [H, W, OH, OW] = [...x.shape.slice(2), ...shape.slice(2)];
  const [K, n, filters] = [KH * KW, OH * OW, F / settings.groups];
  const together = Math.max(1, Math.min(C, Math.floor(MOST_COLUMNS / (K * n)))); // channels that are unfolded at once
  const columns = new Float32Array(together * K * n);
  const sums = new Float64Array(F * n);
  for (let f = 0; bias && f < F; f++) sums.fill(bias.data[f], f * n, (f + 1) * n);
  for (let group = 0; group < settings.groups; group++) {
    for (let c = 0; c < C; c += together) {
      const channels = Math.min(together, C - c);
      for (let i = 0; i < channels; i++) {
        const part = columns.subarray(i * K * n, (i + 1) * K * n);
        unfold(x.data, (group * C + c + i) * H * W, [H, W], [KH, KW], [OH, OW], settings, part);
      }
      for (let f = group * filters; f < (group + 1) * filters; f++) {
        addRows(sums, f * n, columns, n, weight.data, (f * C + c) * K, channels * K);
      }
    }
  }
  return makeTensor(shape, Float32Array.from(sums));
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
export function span(o, stride, before, window, size, after) {
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
