// Count right answers on the images of the page, a few at a time, so that the page stays quick.

import { storedOutputs } from "./check.js";
import { item } from "./data.js";
import { argmax } from "./tensors.js";

const SLICE = 8; // milliseconds of work before the page may do something else

const rest = () => new Promise((resolve) => setTimeout(resolve));

// Returns the number of right answers with these weights, and the answers; null if `stopped()` became true.
export async function countRight(network, data, stopped) {
  const { images, labels } = data;
  const answers = [];
  let right = 0;
  let began = performance.now();
  for (let i = 0; i < images.shape[0]; i++) {
    if (performance.now() - began > SLICE) {
      await rest();
      if (stopped()) return null;
      began = performance.now();
    }
    const scores = network.scores(network.asImage(item(images, i)), storedOutputs(network, i));
    answers.push(scores ? argmax(scores) : -1);
    if (labels && answers[i] === labels[i]) right++;
  }
  return { right, answers };
}
