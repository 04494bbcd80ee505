// Which pixels a value depends on: receptive fields in the picture, windows in the input of a layer.

// The pixels [first, end) of an axis of `length` that output i depends on; field is [start, jump, size].
function pixelsOf([start, jump, size], i, length) {
  const first = start + i * jump;
  return [Math.max(first, 0), Math.max(0, Math.min(first + size, length))];
}

// {rows, cols} of the picture that pixel (row, col) of a layer depends on; all where that is unknown.
export function receptiveField(layer, row, col, [, H, W]) {
  if (!layer.fields) return { rows: [0, H], cols: [0, W], whole: true };
  return { rows: pixelsOf(layer.fields[0], row, H), cols: pixelsOf(layer.fields[1], col, W), whole: false };
}

// The rows and columns that the window of a convolution or pooling reads for output (row, col), with padding.
export function windowAt({ settings }, [KH, KW], row, col) {
  const { stride, pads } = settings;
  const dilation = settings.dilation ?? [1, 1];
  const along = (n, o, axis) =>
    Array.from({ length: n }, (_, k) => o * stride[axis] - pads[2 * axis] + k * dilation[axis]);
  return { rows: along(KH, row, 0), cols: along(KW, col, 1) };
}

// Place a frame around rows [a, b) and columns [c, d) of a picture of H x W pixels.
export function placeFrame(frame, rows, cols, H, W) {
  frame.hidden = rows[1] <= rows[0] || cols[1] <= cols[0];
  frame.style.top = `${(100 * rows[0]) / H}%`;
  frame.style.left = `${(100 * cols[0]) / W}%`;
  frame.style.height = `${(100 * (rows[1] - rows[0])) / H}%`;
  frame.style.width = `${(100 * (cols[1] - cols[0])) / W}%`;
}

// The pixel under a pointer.
export function pixelUnder(event, canvas, H, W) {
  const box = canvas.getBoundingClientRect();
  const limit = (value, n) => Math.max(0, Math.min(n - 1, Math.floor(value * n)));
  return {
    row: limit((event.clientY - box.top) / box.height, H),
    col: limit((event.clientX - box.left) / box.width, W),
  };
}
