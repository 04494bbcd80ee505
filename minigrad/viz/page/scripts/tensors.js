// Arrays with a shape.  The numbers lie in rows, the last axis first.

export function size(shape) {
  return shape.reduce((product, n) => product * n, 1);
}

export function makeTensor(shape, data = new Float32Array(size(shape))) {
  return { shape, data };
}

// The distance in memory between neighbours along each axis.
export function strides(shape) {
  const steps = new Array(shape.length);
  for (let axis = shape.length - 1, step = 1; axis >= 0; axis--) {
    steps[axis] = step;
    step *= shape[axis];
  }
  return steps;
}

// The strides with which a tensor is read as if it had a larger shape: 0 along the axes where it repeats.
export function broadcastStrides(shape, target) {
  const steps = strides(shape);
  const missing = target.length - shape.length;
  return target.map((_, axis) => (axis < missing || shape[axis - missing] === 1 ? 0 : steps[axis - missing]));
}

export function broadcastShape(a, b) {
  const axes = Math.max(a.length, b.length);
  const at = (shape, axis) => shape[axis - (axes - shape.length)] ?? 1;
  return Array.from({ length: axes }, (_, axis) => Math.max(at(a, axis), at(b, axis)));
}

// The place in memory of every element of `shape`, read with these strides from a first place.
export function places(shape, steps, first = 0) {
  let found = new Int32Array([first]);
  shape.forEach((n, axis) => {
    const next = new Int32Array(found.length * n);
    for (let i = 0; i < found.length; i++) {
      for (let j = 0; j < n; j++) next[i * n + j] = found[i] + j * steps[axis];
    }
    found = next;
  });
  return found;
}

// The elements of a tensor at these places.
export function gather(tensor, shape, where) {
  const out = makeTensor(shape);
  for (let i = 0; i < where.length; i++) out.data[i] = tensor.data[where[i]];
  return out;
}

// The plane [h, w] number c of a tensor (1, C, H, W).
export function plane(tensor, c) {
  const [H, W] = tensor.shape.slice(-2);
  return tensor.data.subarray(c * H * W, (c + 1) * H * W);
}

export function largest(data) {
  let most = 0;
  for (let i = 0; i < data.length; i++) {
    const value = Math.abs(data[i]);
    if (value > most && value < Infinity) most = value;
  }
  return most;
}

export function argmax(data) {
  let best = 0;
  for (let i = 1; i < data.length; i++) if (data[i] > data[best]) best = i;
  return best;
}
