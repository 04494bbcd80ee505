// The operations that this page computes, by the names they have in Python.

const OPERATIONS = new Map();

// compute(inputs, settings, shape of the output) returns a tensor.
export function operation(name, compute) {
  OPERATIONS.set(name, compute);
}

// Whether an operation works on each element alone: its formula is marked so.
export function isElementwise(name) {
  return OPERATIONS.get(name)?.elementwise ?? false;
}

export function findOperation(name) {
  return OPERATIONS.get(name);
}

// A number that JSON cannot hold comes as text: "inf", "-inf", "nan".
export function asNumber(value) {
  if (typeof value !== "string") return value;
  return { inf: Infinity, "-inf": -Infinity }[value] ?? NaN;
}
