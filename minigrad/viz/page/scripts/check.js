// Compare what this browser computes with what Python computed: all layers for the first image, and some other scores.

import { floats, item } from "./data.js";
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

// What Python computed for other images: their scores, as a check like those of the first image's layers.
function scoresOf(encoded) {
  const data = floats(encoded.float32);
  const largest = data.reduce((most, score) => (Math.abs(score) < Infinity ? Math.max(most, Math.abs(score)) : most), 0);
  return { data, stride: 1, largest };
}

// Returns {agrees, largest, place, compared, images, missing}: the largest difference, where it is, what was compared, and
// the first place where both have NaN or infinity, or null.
export function compareWithPython(network, data) {
  const worst = { agrees: true, largest: 0, place: null, compared: 0, images: [0], missing: null };
  const compare = (check, value, place) => {
    if (!value) return;
    const found = difference(check, value);
    worst.compared += check.data.length;
    if (check.data.some((x) => !Number.isFinite(x))) worst.missing ??= place;
    if (found > worst.largest) Object.assign(worst, { largest: found, place });
  };
  const run = (i) => network.run(network.asImage(item(data.images, i)), storedOutputs(network, i));
  const values = run(0);
  data.check.forEach((check, number) => compare(check, values[number + 1], network.steps[number].layer));
  for (const [name, encoded] of Object.entries(data.scores)) {
    const scores = run(Number(name))[network.result];
    compare(scoresOf(encoded), scores, `the scores of image ${name}`);
    if (scores) worst.images.push(Number(name));
  }
  worst.agrees = worst.largest <= TOLERANCE;
  return worst;
}
