// Which places of the images in the page excite each filter most.

import { storedOutputs } from "./check.js";
import { item } from "./data.js";
import { plane } from "./tensors.js";

const SLICE = 8; // milliseconds of work before the page may do something else
export const PLACES = 6; // places kept for each filter, each of another image

const rest = () => new Promise((resolve) => setTimeout(resolve));

// The largest value of a map and its place.
function strongest(map, W) {
  let best = 0;
  for (let i = 1; i < map.length; i++) if (map[i] > map[best]) best = i;
  return { value: map[best], row: Math.floor(best / W), col: best % W };
}

function keepBest(list, found) {
  list.push(found);
  list.sort((a, b) => b.value - a.value);
  list.length = Math.min(list.length, PLACES);
}

// Returns, for each layer given, for each channel, the strongest places {image, row, col, value}; null if stopped.
export async function findExciting(network, data, layers, stopped) {
  const found = layers.map((layer) => Array.from({ length: layer.shape[1] }, () => []));
  let began = performance.now();
  for (let image = 0; image < data.images.shape[0]; image++) {
    if (performance.now() - began > SLICE) {
      await rest();
      if (stopped()) return null;
      began = performance.now();
    }
    const values = network.run(network.asImage(item(data.images, image)), storedOutputs(network, image));
    layers.forEach((layer, i) => {
      const value = values[layer.value];
      if (!value) return;
      found[i].forEach((list, channel) =>
        keepBest(list, { image, ...strongest(plane(value, channel), layer.shape[3]) }),
      );
    });
  }
  return found;
}
