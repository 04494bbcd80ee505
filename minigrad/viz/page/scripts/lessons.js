// Twelve lessons.  Each is computed from the model and the picture at hand, so that what it says is true of them.
//   title, text, question
//   options   the right one first
//   reveal    what is true, and where to look
//   section   id of the panel that shows it
//   act       what the page does when the answer is revealed
//   undo      the opposite, when the reader goes on

import { CLASSIC, withLength } from "./classic.js";
import { receptiveField } from "./fields.js";
import { findOperation } from "./operations/registry.js";
import { argmax, makeTensor } from "./tensors.js";
import { count, decimals, isolated, number, percent, sizes } from "./words.js";
import { move } from "./picture.js";
import { weightCounts } from "./panels/convolution.js";

const ACTIVATIONS = ["relu", "tanh", "sigmoid", "leaky_relu", "silu", "gelu", "elu", "hardswish", "hardtanh", "mish"];
const POOLING = ["max_pool2d", "avg_pool2d"];
const EDGE = "Edge: bright on the right";

// The lessons for a lab whose model has a convolution.
export function makeLessons(lab) {
  const layer = lab.convolutions[0];
  const parts = { lab, layer, step: layer.convolution.step, weight: lab.network.weight(layer.convolution.weight) };
  return [numbers, placing, filter, positions, bias, activation, edge, shift, pooling, field, origin, dense].map(
    (lesson) => lesson(parts),
  );
}

function numbers({ lab }) {
  const [C, H, W] = lab.shape;
  return {
    title: "A picture is numbers",
    text: `The network does not see a shape. It reads one number for each pixel${C > 1 ? " and colour" : ""}.`,
    question: "How many numbers does it read for your picture?",
    options: [count(C * H * W, "number"), count(H + W, "number"), count(lab.data.classes.length, "number")],
    reveal: `${H} rows times ${W} columns${C > 1 ? ` times ${C} colours` : ""} are ${C * H * W} numbers. The right picture beside your drawing shows them.`,
    section: "input",
  };
}

function placing({ lab }) {
  const by = Math.round(lab.shape[2] / 4);
  const before = lab.probabilities;
  const after = lab.toProbabilities(
    lab.scoresOf(move(lab.pixels, lab.shape, { dx: by, dy: 0, angle: 0 }, lab.background)) ?? [NaN],
  );
  const best = before ? argmax(before) : 0;
  const change = before ? before[best] - after[best] : NaN;
  const options = ["It stays about as sure", "It becomes less sure by more than 5 points"];
  return {
    title: "Where the digit lies",
    text: "You recognise a shape wherever it lies. Does the network?",
    question: `Your picture moves ${by} pixels to the right. How sure is the network then?`,
    options: change > 0.05 ? options.reverse() : options,
    reveal: before
      ? `It gave ${percent(before[best])} to ${lab.classLabel(best)}; now it gives ${percent(after[best])}. ` +
        "The maps follow the shape, but the layers after them may depend on the place."
      : "This model's answer is not computed here.",
    section: "input",
    act: () => lab.set({ dx: by }),
    undo: () => lab.set({ dx: 0 }),
  };
}

function filter({ layer, weight }) {
  const [F, C, KH, KW] = weight.shape;
  return {
    title: "A filter is a small grid of weights",
    text: `${layer.label} has ${count(F, "filter")}. Each looks at a window of ${KH}×${KW} pixels${C > 1 ? ` in ${C} channels` : ""}.`,
    question: "How many weights has one filter?",
    options: [`${C * KH * KW}`, `${F}`, `${KH + KW + C + 1}`],
    reveal: `${C > 1 ? `${C} × ` : ""}${KH} × ${KW} = ${C * KH * KW}. Orange weights ask for bright pixels, blue ones for dark pixels.`,
    section: "maps",
  };
}

function positions({ lab, layer, step, weight }) {
  const [, , OH, OW] = layer.shape;
  const [, , H, W] = lab.inputOf(layer.convolution)?.shape ?? [1, ...lab.shape];
  const { stride, pads } = step.settings;
  return {
    title: "The window slides",
    text: `The filter stops at every place, with stride ${stride[0]} and padding ${pads[0]}, and writes one number each time. These numbers are the feature map.`,
    question: `The input has ${H}×${W} pixels, the filter ${sizes(weight.shape.slice(2))}. How large is the map?`,
    options: [
      sizes([OH, OW]),
      sizes([Math.floor(OH / 2), Math.floor(OW / 2)]),
      sizes(weight.shape.slice(2)),
      sizes([OH + 4, OW + 4]),
    ],
    reveal: `${OH} = (${H} + ${pads[0]} + ${pads[1]} − ${step.settings.dilation[0] * (weight.shape[2] - 1) + 1}) ÷ ${stride[0]} + 1, rounded down. Press "Slide the window" to watch it.`,
    section: "pixel",
  };
}

function bias({ lab, layer }) {
  const { bias: name } = layer.convolution;
  const channel = 0;
  const found = name ? lab.network.weight(name).data[channel] : 0;
  return {
    title: "Multiply, add up, add the bias",
    text: "Each pixel of the window is multiplied by its weight. All products are added, then the bias.",
    question: "All numbers under the window are 0. What does the filter write?",
    options: name
      ? ["Its bias", "Always 0", "The sum of its weights"]
      : ["0, because this layer has no bias", "1", "The sum of its weights"],
    reveal: name
      ? `Every product is 0, so only the bias is left: ${number(found)} for filter ${channel}. Note that a black pixel is not 0 if pictures are normalised.`
      : "Every product is 0, and this layer adds no bias.",
    section: "pixel",
  };
}

function activation({ lab }) {
  const step = lab.data.steps.find((each) => ACTIVATIONS.includes(each.op));
  const x = -1.5;
  const out = step ? findOperation(step.op)([makeTensor([1], Float32Array.of(x))], step.settings).data[0] : x;
  return {
    title: "The activation",
    text: step
      ? `After a convolution comes an activation, here ${step.op}. It works on each pixel alone.`
      : "This model has no activation: it passes values on.",
    question: "A pixel is −1.5. What does the activation make of it?",
    options: [decimals(out, 2), "1.50", out === x ? "0.00" : "−1.50", "0.50"],
    reveal: `${decimals(out, 2)}. Without activations, many layers together could do no more than a single one.`,
    section: "maps",
  };
}

function edge({ lab, layer, weight }) {
  const [F, C, KH, KW] = weight.shape;
  const name = layer.convolution.weight;
  return {
    title: "A filter for edges",
    text: "Now filter 0 gets weights that people designed: negative on the left, positive on the right.",
    question: "Where is its map most orange?",
    options: [
      "At the left rim of bright strokes",
      "At the right rim of bright strokes",
      "In the middle of wide bright areas",
    ],
    reveal:
      "Going to the right, it is dark and then bright there, exactly as in the filter. Learned filters often look alike.",
    section: "editor",
    act: () => {
      const each = C * KH * KW;
      const one = CLASSIC[EDGE](KH, KW);
      const length = Math.hypot(...weight.data.subarray(0, each)) || 1;
      lab.edit(
        name,
        0,
        withLength(
          Float32Array.from({ length: each }, (_, i) => one[i % (KH * KW)]),
          length,
        ),
      );
    },
    undo: () => lab.resetFilter(name, 0, layer.convolution.number),
  };
}

function shift({ lab, layer, step }) {
  const by = 3 * step.settings.stride[1];
  return {
    title: "The same weights everywhere",
    text: "A filter does not know where it is. It uses the same weights at every place.",
    question: `The picture moves ${by} pixels to the right. What does the map of ${layer.label} do?`,
    options: ["It moves along", "It stays where it is", "It becomes another pattern"],
    reveal: `It moves along by ${by / step.settings.stride[1]} pixels. Try it with the slider "Shift right" in "Why convolution?".`,
    section: "convolution",
  };
}

function pooling({ lab }) {
  const step = lab.data.steps.find(({ op, unknown }) => !unknown && POOLING.includes(op));
  if (!step) return lastMap(lab);
  const before = lab.data.steps[step.inputs[0].value - 1]?.shape.slice(2) ?? lab.shape.slice(1);
  const word = step.op === "max_pool2d" ? "the largest value" : "the mean";
  return {
    title: "Pooling",
    text: `${isolated(step.layer)} keeps only ${word} of each ${sizes(step.settings.window)} window.`,
    question: `It reads maps of ${sizes(before)}. How large are those it writes?`,
    options: [sizes(step.shape.slice(2)), sizes(before), sizes(before.map((n) => 2 * n)), sizes(step.settings.window)],
    reveal: `${sizes(step.shape.slice(2))}. The maps become smaller, and later filters see more of the picture.`,
    section: "maps",
  };
}

function lastMap(lab) {
  const layer = lab.layers.filter((each) => each.isMap).at(-1);
  const side = sizes(layer.shape.slice(2));
  return {
    title: "Maps become smaller",
    text: "This model has no pooling of windows. Strides and missing padding make its maps smaller.",
    question: `The picture has ${sizes(lab.shape.slice(1))} pixels. How large are the maps of ${layer.label}?`,
    options: [side, sizes(lab.shape.slice(1).map((n) => 2 * n)), sizes([1, layer.shape[1] + 1])],
    reveal: `${side}: see the last row of maps.`,
    section: "maps",
  };
}

function field({ lab }) {
  const layer = lab.convolutions.at(-1);
  const [first, jump, size] = layer.fields ? layer.fields[0] : [0, 1, lab.shape[1]];
  const [, , H, W] = layer.shape;
  return {
    title: "The receptive field",
    text: "A pixel of a later map depends on a window of maps, each pixel of which depends on a window of the picture.",
    question: `How many rows of the picture can one pixel of ${layer.label} depend on?`,
    options: [`${size}`, `${Math.max(1, size - 3)}`, "1"],
    reveal: `${size}${size > lab.shape[1] ? `, more than the ${lab.shape[1]} rows of the picture` : ""}. Point at its maps: the frame in the picture shows what a pixel sees.`,
    section: "maps",
    act: () => lab.select({ layer: layer.number, channel: 0, row: Math.floor(H / 2), col: Math.floor(W / 2) }),
  };
}

function origin({ lab }) {
  return {
    title: "Where filters come from",
    text: "Nobody writes the weights of a network. The training changes them, step by step, so that the loss falls.",
    question: "What do the filters look like before the first step?",
    options: ["Random numbers", "All zero", "Edges and corners"],
    reveal: lab.data.tape
      ? "Random. The page shows that moment now; move the slider to watch the training."
      : "Random. With a tape of the training, this page shows every moment of it.",
    section: "training",
    act: () => lab.data.tape && lab.set({ frame: 0 }, "weights"),
    undo: () => lab.set({ frame: null }, "weights"),
  };
}

function dense({ lab, layer, weight }) {
  const { convolution, same } = weightCounts(weight.shape, layer.convolution.step.settings, lab.shape[1]);
  const times = Math.round(same / convolution);
  return {
    title: "Why not a dense layer?",
    text: "In a dense layer every output has a weight of its own for every pixel.",
    question: `How many times more weights would a dense layer need in place of ${layer.label}, for as many outputs?`,
    options: [
      `about ${times.toLocaleString("en")} times`,
      "about twice as many",
      `about ${Math.max(10, Math.round(Math.sqrt(times))).toLocaleString("en")} times`,
    ],
    reveal: `${same.toLocaleString("en")} against ${convolution.toLocaleString("en")}. And it would have to learn every pattern again at every place.`,
    section: "convolution",
  };
}
