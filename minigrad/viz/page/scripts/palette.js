// Colours of numbers: blue below zero, white at zero, orange above.  Colour-blind people can tell the two sides apart.

import { largest } from "./tensors.js";

const STEPS = 256;
const BLUE = [
  [255, 255, 255],
  [146, 188, 226],
  [24, 90, 169],
];
const ORANGE = [
  [255, 255, 255],
  [253, 184, 99],
  [166, 75, 0],
];
const MISSING = 0xff999999; // NaN, as little-endian ABGR

function blend(stops, share) {
  const place = share * (stops.length - 1);
  const i = Math.min(Math.floor(place), stops.length - 2);
  return stops[i].map((from, k) => Math.round(from + (stops[i + 1][k] - from) * (place - i)));
}

function asWord([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

const TABLE = Uint32Array.from({ length: 2 * STEPS + 1 }, (_, i) => {
  const share = (i - STEPS) / STEPS;
  return asWord(blend(share < 0 ? BLUE : ORANGE, Math.abs(share)));
});

// A CSS colour of a number between -scale and scale, and whether text on it must be white.
export function colourOf(value, scale) {
  const share = Math.max(-1, Math.min(1, value / (scale || 1))) || 0;
  const rgb = blend(share < 0 ? BLUE : ORANGE, Math.abs(share));
  return { background: `rgb(${rgb.join(" ")})`, dark: 0.3 * rgb[0] + 0.6 * rgb[1] + 0.1 * rgb[2] < 150 };
}

function draw(canvas, W, H, fill) {
  if (canvas.width !== W || canvas.height !== H) {
    canvas.width = W;
    canvas.height = H;
    canvas.words = null;
  }
  const context = canvas.getContext("2d");
  if (!canvas.words) {
    canvas.picture = context.createImageData(W, H);
    canvas.words = new Uint32Array(canvas.picture.data.buffer);
  }
  fill(canvas.words);
  context.putImageData(canvas.picture, 0, 0);
}

// Draw numbers in rows of W at native size; CSS enlarges them.
export function paintMap(canvas, data, W, H, scale = largest(data)) {
  const factor = scale > 0 ? STEPS / scale : 0;
  draw(canvas, W, H, (words) => {
    for (let i = 0; i < words.length; i++) {
      const value = data[i] * factor;
      words[i] = value !== value ? MISSING : TABLE[STEPS + Math.max(-STEPS, Math.min(STEPS, Math.round(value)))];
    }
  });
}

// Draw pixels (C, H, W) from 0 to 1: in colours if C is 3, otherwise the mean of the channels in grey.
export function paintImage(canvas, pixels, [C, H, W]) {
  const byte = (value) => Math.max(0, Math.min(255, Math.round(value * 255)));
  const plane = H * W;
  draw(canvas, W, H, (words) => {
    for (let i = 0; i < plane; i++) {
      if (C === 3) {
        words[i] = asWord([byte(pixels[i]), byte(pixels[i + plane]), byte(pixels[i + 2 * plane])]);
      } else {
        let sum = 0;
        for (let c = 0; c < C; c++) sum += pixels[i + c * plane];
        words[i] = asWord(new Array(3).fill(byte(sum / C)));
      }
    }
  });
}
