// Change pictures: centre as MNIST does, shift, rotate, add noise, shuffle.  Pixels are (C, H, W) from 0 to 1.

const BOX = 20 / 28; // MNIST scales a digit into 20 of 28 pixels
const INK = 20; // of 255: how far a pixel of a drawing must be from the background

// The same random numbers on every page and every call: a small generator (mulberry32).
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function eachPlane(pixels, [C, H, W], change) {
  const out = new Float32Array(pixels.length);
  for (let c = 0; c < C; c++)
    change(pixels.subarray(c * H * W, (c + 1) * H * W), out.subarray(c * H * W, (c + 1) * H * W), c);
  return out;
}

// The background of pictures: for each channel the median of the corners of images (N, C, H, W).
export function findBackground({ shape: [N, C, H, W], data }, toPixel) {
  return Array.from({ length: C }, (_, c) => {
    const corners = Array.from({ length: N }, (_, n) => (n * C + c) * H * W).flatMap((first) =>
      [0, W - 1, (H - 1) * W, H * W - 1].map((place) => toPixel(data[first + place], c)),
    );
    return Math.max(0, Math.min(1, corners.sort((a, b) => a - b)[Math.floor(corners.length / 2)])) || 0;
  });
}

// A CSS colour of pixels from 0 to 1, one number or three.
export function cssColour(values) {
  const [red, green, blue] = values.length === 3 ? values : new Array(3).fill(values[0]);
  return `rgb(${[red, green, blue].map((value) => Math.round(255 * value)).join(" ")})`;
}

// The value between four pixels; outside of the picture lies the background.
function between(plane, H, W, y, x, background) {
  const top = Math.floor(y);
  const left = Math.floor(x);
  const at = (h, w) => (h >= 0 && h < H && w >= 0 && w < W ? plane[h * W + w] : background);
  const down = y - top;
  const right = x - left;
  const upper = at(top, left) * (1 - right) + at(top, left + 1) * right;
  const lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right;
  return upper * (1 - down) + lower * down;
}

// Whether a model may read MNIST.
export function isLikeDigits(shape) {
  return String(shape) === "1,28,28";
}

// How far the page shifts, turns and spoils a picture (C, H, W).
export function limitsOfChange([, H, W]) {
  return { dx: Math.floor(W / 3), dy: Math.floor(H / 3), angle: 180, noise: 0.6 };
}

// Rotate about the middle by degrees clockwise, then shift by dx to the right and dy downwards.
export function move(pixels, shape, { dx, dy, angle }, background) {
  if (!dx && !dy && !angle) return pixels;
  const [, H, W] = shape;
  const [sin, cos] = [Math.sin((angle * Math.PI) / 180), Math.cos((angle * Math.PI) / 180)];
  return eachPlane(pixels, shape, (from, to, c) => {
    for (let h = 0, i = 0; h < H; h++) {
      for (let w = 0; w < W; w++, i++) {
        const [y, x] = [h - dy - (H - 1) / 2, w - dx - (W - 1) / 2];
        to[i] = between(from, H, W, y * cos - x * sin + (H - 1) / 2, y * sin + x * cos + (W - 1) / 2, background[c]);
      }
    }
  });
}

export function addNoise(pixels, amount) {
  if (!amount) return pixels;
  const random = randomNumbers(1);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return pixels.map((pixel) => Math.max(0, Math.min(1, pixel + amount * normal())));
}

function permutation(n) {
  const random = randomNumbers(2);
  const order = Int32Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

// Put every pixel at another place, the same for every picture.
export function shuffle(pixels, shape) {
  const order = permutation(shape[1] * shape[2]);
  return eachPlane(pixels, shape, (from, to) => order.forEach((place, i) => (to[i] = from[place])));
}

// ---- drawings

// Give a picture with ink on a flat ground the ground of the pictures of the page, from 0 to 1; the strongest ink becomes
// its opposite.  If only one of the two is bright, dark and bright are exchanged.  The picture (ImageData) becomes grey.
// Returns {inverted, levelled}; {} if it has no ink.
export function adaptGround({ data, width, height }, ground) {
  const grey = Float32Array.from({ length: width * height }, (_, i) => greyOf(data, 4 * i));
  const isBorder = (i) => [i % width, Math.floor(i / width)].some((at, axis) => at < 2 || at >= [width, height][axis] - 2);
  const border = Array.from(grey).filter((_, i) => isBorder(i));
  const paper = border.sort((a, b) => a - b)[Math.floor(border.length / 2)];
  const ink = Array.from(grey).filter((x) => Math.abs(x - paper) > INK);
  if (!ink.length) return {};
  const mean = ink.reduce((sum, x) => sum + x, 0) / ink.length;
  const darkInk = mean < paper;
  const inverted = darkInk === ground < 0.5;
  const flat = border.filter((x) => Math.abs(x - paper) <= INK).length > 0.75 * border.length;
  const levelled = flat && Math.abs((inverted ? 255 - paper : paper) - 255 * ground) > 2;
  const strongest = ink.reduce((most, x) => (darkInk ? Math.min(most, x) : Math.max(most, x)), paper);
  const opposite = ground < 0.5 ? 255 : 0;
  const change = levelled
    ? (x) => 255 * ground + (opposite - 255 * ground) * Math.max(0, (x - paper) / (strongest - paper))
    : (x) => (inverted ? 255 - x : x);
  if (inverted || levelled) grey.forEach((x, i) => data.fill(Math.round(change(x)), 4 * i, 4 * i + 3));
  return { inverted, levelled };
}

// From 0 to 255.
function greyOf(data, place) {
  return Math.round(0.299 * data[place] + 0.587 * data[place + 1] + 0.114 * data[place + 2]);
}

// The smallest rectangle around everything drawn on a square canvas, or null.
function boundingBox(surface, background) {
  const side = surface.width;
  const { data } = surface.getContext("2d").getImageData(0, 0, side, side);
  const [red, green, blue] = [0, 1, 2].map((c) => 255 * (background[c] ?? background[0]));
  let [top, left, bottom, right] = [side, side, -1, -1];
  for (let y = 0, i = 0; y < side; y++) {
    for (let x = 0; x < side; x++, i += 4) {
      const isGround =
        Math.abs(data[i] - red) < INK && Math.abs(data[i + 1] - green) < INK && Math.abs(data[i + 2] - blue) < INK;
      if (isGround) continue;
      if (y < top) top = y;
      if (x < left) left = x;
      if (x > right) right = x;
      bottom = y;
    }
  }
  return bottom < 0 ? null : { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
}

export function centreOfMass(pixels, [, H, W], background) {
  let [sum, y, x] = [0, 0, 0];
  pixels.forEach((value, i) => {
    const place = i % (H * W);
    const ink = Math.abs(value - background[Math.floor(i / (H * W))]);
    sum += ink;
    y += ink * Math.floor(place / W);
    x += ink * (place % W);
  });
  return sum ? { sum, y: y / sum, x: x / sum } : { sum, y: (H - 1) / 2, x: (W - 1) / 2 };
}

// Draw a part of a canvas onto a new one of the size of the picture, and return its pixels.
function resample(source, part, target, [C, H, W], background) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [W, H];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = cssColour(background);
  context.fillRect(0, 0, W, H);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, part.x, part.y, part.width, part.height, target.x, target.y, target.width, target.height);
  const { data } = context.getImageData(0, 0, W, H);
  return Float32Array.from({ length: C * H * W }, (_, i) => {
    const place = 4 * (i % (H * W));
    if (C === 3) return data[place + Math.floor(i / (H * W))] / 255;
    return greyOf(data, place) / 255;
  });
}

// The pixels of a drawing as the network reads them.  With centring, as MNIST was made: the digit is scaled into a box
// of 20 pixels, and its centre of mass is moved to the middle, as far as the
// picture reaches.
export function readDrawing(surface, shape, centring, background) {
  const whole = { x: 0, y: 0, width: surface.width, height: surface.height };
  const [, H, W] = shape;
  const box = centring ? boundingBox(surface, background) : null;
  const isWhole = box && box.width === surface.width && box.height === surface.height; // there is no ground around it
  if (!box || isWhole)
    return resample(surface, whole, { x: 0, y: 0, width: W, height: H }, shape, background);
  const scale = (BOX * Math.min(28, H, W)) / Math.max(box.width, box.height);
  const target = { width: box.width * scale, height: box.height * scale };
  Object.assign(target, { x: (W - target.width) / 2, y: (H - target.height) / 2 });
  const { y, x } = centreOfMass(resample(surface, box, target, shape, background), shape, background);
  const inside = (place, most) => Math.max(0, Math.min(most, place));
  target.x = inside(target.x + Math.round((W - 1) / 2 - x), W - target.width);
  target.y = inside(target.y + Math.round((H - 1) / 2 - y), H - target.height);
  return resample(surface, box, target, shape, background);
}
