// Filters that people designed: edges, corners, blur.  Each is a function of the size of the window.

// 1 2 1, 1 4 6 4 1 and so on
function binomial(n) {
  let row = [1];
  while (row.length < n) row = [...row, 0].map((x, i) => x + (row[i - 1] ?? 0));
  return row;
}

function grid(KH, KW, formula) {
  const at = (i, n) => i - (n - 1) / 2;
  return Float32Array.from({ length: KH * KW }, (_, i) =>
    formula(at(i % KW, KW), at(Math.floor(i / KW), KH), i % KW, Math.floor(i / KW)),
  );
}

// The values minus their mean, so that a flat area gives 0.
function balanced(values) {
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  return values.map((x) => x - mean);
}

export const CLASSIC = {
  "Edge: bright on the right": (KH, KW) => grid(KH, KW, (x, y, w, h) => Math.sign(x) * binomial(KH)[h]),
  "Edge: bright below": (KH, KW) => grid(KH, KW, (x, y, w) => Math.sign(y) * binomial(KW)[w]),
  "Corner: bright above left": (KH, KW) => balanced(grid(KH, KW, (x, y) => (x <= 0 && y <= 0 ? 1 : 0))),
  "Line, level": (KH, KW) => balanced(grid(KH, KW, (x, y) => (Math.abs(y) < 1 ? 1 : 0))),
  Spot: (KH, KW) => balanced(grid(KH, KW, (x, y) => Math.exp(-x * x - y * y))),
  Blur: (KH, KW) => grid(KH, KW, (x, y, w, h) => binomial(KH)[h] * binomial(KW)[w]),
  "All zero": (KH, KW) => grid(KH, KW, () => 0),
};

// Scale values to a length, the root of the sum of squares.
export function withLength(values, length) {
  const own = Math.hypot(...values);
  return own > 0 ? values.map((x) => (x * length) / own) : values;
}
