// Compare what this browser computes with what Python computed for the first image.

import { item } from "./data.js";
import { makeTensor } from "./tensors.js";

export const TOLERANCE = 1e-4; // of the largest value of a layer, or of 1 if that is larger

// The outputs of Python for a step that the page cannot compute, for image number i of the page.
export function storedOutputs(network, i) {
  return (number) => {
    const { stored, shape } = network.steps[number];
    return stored && i !== null && i < stored.shape[0] ? makeTensor(shape, item(stored, i)) : null;
  };
}

// The largest difference, relative to the largest value; Infinity where one of the two is not finite.
function difference(check, value) {
  let most = 0;
  check.data.forEach((expected, i) => {
    const found = value.data[i * check.stride];
    if (Object.is(found, expected) || found === expected) return;
    const distance = Math.abs(found - expected);
    most = Math.max(most, distance < Infinity ? distance : Infinity);
  });
  return most / Math.max(1, check.largest);
}

// Returns {agrees, largest, layer, compared, missing}: the largest difference of all layers and where it is, and the first
// layer where both have NaN or infinity, or null.
export function compareWithPython(network, data) {
  const values = network.run(network.asImage(item(data.images, 0)), storedOutputs(network, 0));
  const worst = { agrees: true, largest: 0, layer: null, compared: 0, missing: null };
  data.check.forEach((check, number) => {
    const value = values[number + 1];
    if (!value) return;
    const found = difference(check, value);
    worst.compared += check.data.length;
    if (check.data.some((x) => !Number.isFinite(x))) worst.missing ??= network.steps[number].layer;
    if (found > worst.largest) Object.assign(worst, { largest: found, layer: network.steps[number].layer });
  });
  worst.agrees = worst.largest <= TOLERANCE;
  return worst;
}
