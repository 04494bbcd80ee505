// Twelve lessons.  Each is computed from the model, the picture and the state at hand, so that what it says is true of
// them.
//   title, text, question
//   options   the right one first
//   reveal    what is true, and where to look
//   section   id of the panel that shows it
//   act       what the page shows when the answer is revealed, as lab.demonstrate() takes it; or nothing
//   blocked   in place of a question: why it cannot be asked

import { findActivation } from "./activation.js";
import { CLASSIC, withLength } from "./classic.js";
import { receptiveField } from "./fields.js";
import { isLikeDigits, limitsOfChange } from "./picture.js";
import { argmax, size } from "./tensors.js";
import { count, isolated, number, percent, sizes } from "./words.js";
import { countedAs, weightCounts } from "./panels/convolution.js";

const LESSONS = [
  numbers,
  placing,
  filter,
  positions,
  bias,
  activation,
  edge,
  shift,
  pooling,
  field,
  origin,
  dense,
];
export const LESSON_COUNT = LESSONS.length;
const POOLING = ["max_pool2d", "avg_pool2d"];
const LOSS = 0.05; // of a probability: "less sure"

// A lesson for a lab whose model has a convolution.
export function makeLesson(lab, i) {
  const layer = lab.convolutions[0];
  const { step, weight } = layer.convolution;
  return LESSONS[i]({ lab, layer, step, weight: lab.network.weight(weight) });
}

function numbers({ lab }) {
  const [C, H, W] = lab.shape;
  return {
    title: "A picture is numbers",
    text: `The network does not see a shape. It reads one number for each pixel${C > 1 ? " and colour" : ""}.`,
    question: "How many numbers does it read for your picture?",
    options: [count(C * H * W, "number"), count(H + W, "number"), count(lab.data.classes.length, "number")],
    reveal: `${H} rows times ${W} columns${C > 1 ? ` times ${C} colours` : ""} are ${count(C * H * W, "number")}. The right picture beside your drawing shows them.`,
    section: "input",
  };
}

function placing({ lab }) {
  const title = `Where the ${isLikeDigits(lab.shape) ? "digit" : "shape"} lies`;
  const text = "You recognise a shape wherever it lies. Does the network?";
  const before = lab.probabilities;
  if (lab.noAnswer) return { title, text, blocked: `${lab.noAnswer} So there is no answer to compare.` };
  const by = Math.max(1, Math.round(lab.shape[2] / 4));
  const isRight = lab.state.dx + by <= limitsOfChange(lab.shape).dx;
  const dx = lab.state.dx + (isRight ? by : -by);
  const after = lab.probabilitiesWith({ dx });
  if (!after || after.some((p) => p !== p))
    return { title, text, blocked: "The page has no answer for the picture that is moved." };
  const best = argmax(before);
  const options = ["About as much, or more", "Less, by more than 5 percentage points"];
  return {
    title,
    text,
    question: `Your picture moves ${count(by, "pixel")} to the ${isRight ? "right" : "left"}. How much does the network then give to the class that it names now?`,
    options: before[best] - after[best] > LOSS ? options.reverse() : options,
    reveal: `${tellMove(lab, best, before, after)} The maps follow the shape, but the layers after them may depend on the place.`,
    section: "input",
    act: { state: { dx } },
  };
}

function tellMove(lab, best, before, after) {
  const now = argmax(after);
  const change = `It gave ${percent(before[best])} to ${lab.classLabel(best)}; now it gives ${percent(after[best])} to it`;
  return now === best ? `${change}.` : `${change}, and ${percent(after[now])} to ${lab.classLabel(now)}.`;
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
  const [, , OH, OW] = step.shape;
  const [, H, W] = lab.inputShape(layer.convolution);
  const { stride, pads } = step.settings;
  return {
    title: "The window slides",
    text: `The filter stops at every place, with stride ${both(stride)} and padding ${both([pads[0], pads[2]])}, and writes one number each time. These numbers are the feature map.`,
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

// A setting for rows and columns as one number if it is the same for both.
function both([rows, cols]) {
  return rows === cols ? `${rows}` : `${rows} downwards and ${cols} to the right`;
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

function activation({ lab, layer }) {
  const title = "The activation";
  const found = findActivation(lab, layer.convolution);
  const x = -1.5;
  const out = found?.apply ? found.apply(x) : x;
  const text = found
    ? `After a convolution comes an activation, here ${found.name}. It works on each pixel alone.`
    : `No activation follows ${layer.label}: its values are passed on as they are.`;
  if (found && !found.apply) return { title, text, blocked: "The page cannot compute it." };
  if (!Number.isFinite(out)) return { title, text, blocked: `It makes ${number(out)} of −1.5.` };
  return {
    title,
    text,
    question: `A pixel is −1.5. What ${found ? `does ${found.name} make of it` : "do the next layers read"}?`,
    options: [number(out), "1.5", "−1.5", "0", "0.5"],
    reveal: `${number(out)}. Without activations, many layers together could do no more than a single one.`,
    section: "maps",
  };
}

function edge(parts) {
  const { lab, layer, weight } = parts;
  const [, C, KH, KW] = weight.shape;
  if (KH === 1 && KW === 1) return singlePixel(parts);
  const level = KW === 1; // too narrow for left and right
  const ends = level ? ["top", "bottom"] : ["left", "right"];
  const places = rims(lab, level ? ["upper", "lower"] : ends, ends);
  const each = C * KH * KW;
  const one = CLASSIC[level ? "Edge: bright below" : "Edge: bright on the right"](KH, KW);
  const learned = Math.hypot(...weight.data.subarray(0, each));
  const weights = withLength(
    Float32Array.from({ length: each }, (_, i) => one[i % (KH * KW)]),
    learned > 0 && learned < Infinity ? learned : 1,
  );
  const { weight: name, number: step } = layer.convolution;
  return {
    title: "A filter for edges",
    text: `Now filter 0 of ${layer.label} gets weights that people designed: negative at the ${ends[0]}, positive at the ${ends[1]}.`,
    question: "Where is its map most orange?",
    options: places,
    reveal: `There the window is dark at the ${ends[0]} and bright at the ${ends[1]}, as the filter asks. Learned filters often look alike.`,
    section: "editor",
    act: { edit: { name, filter: 0, weights, number: step } },
  };
}

// Where a window goes from dark to bright, and wrong answers, in the words of the pictures in the page.
function rims(lab, sides, ends) {
  const ground = lab.background.reduce((sum, x) => sum + x, 0) / lab.background.length;
  const flat = "In the middle of wide bright areas";
  if (ground < 0.35) return [`At the ${sides[0]} rim of bright shapes`, `At the ${sides[1]} rim of bright shapes`, flat];
  if (ground > 0.65) return [`At the ${sides[1]} rim of dark shapes`, `At the ${sides[0]} rim of dark shapes`, flat];
  return [
    `Where it is dark at the ${ends[0]} and bright at the ${ends[1]}`,
    `Where it is bright at the ${ends[0]} and dark at the ${ends[1]}`,
    flat,
  ];
}

// A filter of 1×1 cannot find an edge.
function singlePixel({ layer }) {
  return {
    title: "A filter of one pixel",
    text: `The filters of ${layer.label} have a window of 1×1: each reads one pixel, in all channels.`,
    question:
      "Two pixels have the same numbers. One lies at an edge of a shape, one in its middle. What does a filter write?",
    options: ["The same for both", "More at the edge", "0 in the middle"],
    reveal: "The same for both: it does not see the neighbours. So it cannot find edges; it mixes channels.",
    section: "pixel",
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
  const layer = lab.layers.find((each) => each.isMap && isPooling(lab, each));
  if (!layer) return lastMap(lab);
  const [before, after] = [shapeBefore(lab, layer).slice(2), layer.shape.slice(2)];
  const step = lab.data.steps[layer.value - 1];
  const word = step.op === "max_pool2d" || /max/i.test(layer.kind) ? "the largest value" : "the mean";
  const window = step.settings?.window;
  const parts = isAdaptive(layer)
    ? size(after) === 1
      ? "of each whole map"
      : `of each part, when a map is cut into ${sizes(after)} parts`
    : `of each ${sizes(window)} window`;
  return {
    title: "Pooling",
    text: `${layer.label} keeps only ${word} ${parts}.`,
    question: `It reads maps of ${sizes(before)}. How large are those it writes?`,
    options: [sizes(after), sizes(before), sizes(before.map((n) => 2 * n)), sizes(before.map((n) => n + 1))],
    reveal: `${sizes(after)}. ${tellSizes(before, after)}`,
    section: "maps",
  };
}

function isPooling(lab, layer) {
  const { op, unknown } = lab.data.steps[layer.value - 1];
  return (!unknown && POOLING.includes(op)) || isAdaptive(layer);
}

function isAdaptive({ kind }) {
  return /^adaptive_?(avg|max)_?pool2d$/i.test(kind);
}

function tellSizes(before, after) {
  const [from, to] = [size(before), size(after)];
  if (to < from) return "The maps become smaller, and later filters see more of the picture.";
  return to > from
    ? "The maps even grow, because the padding adds more than the windows take away."
    : "The maps keep their size, because the window moves one pixel at a time and padding replaces what is lost.";
}

// The shape of what a layer reads; of an operation that the page does not know, of the value before it.
function shapeBefore(lab, layer) {
  const value = lab.data.steps[layer.first].inputs?.find((input) => input?.value !== undefined)?.value ?? layer.first;
  return value ? lab.data.steps[value - 1].shape : [1, ...lab.shape];
}

function lastMap(lab) {
  const maps = lab.layers.filter((each) => each.isMap);
  const layer = maps.at(-1);
  const [before, after] = [lab.shape.slice(1), layer.shape.slice(2)];
  return {
    title: "The size of the maps",
    text: "This model has no pooling of windows. Strides and missing padding make maps smaller; other layers can enlarge them.",
    question: `The picture has ${sizes(before)} pixels. How large are the maps of ${layer.label}?`,
    options: [
      sizes(after),
      sizes(before),
      sizes(before.map((n) => Math.ceil(n / 2))),
      sizes(before.map((n) => 2 * n)),
    ],
    reveal: `${sizes(after)}. ${tellChanges(lab, maps)}`,
    section: "maps",
  };
}

// Which layers change the size of maps.
function tellChanges(lab, maps) {
  const changes = maps
    .map((layer) => ({ layer, from: shapeBefore(lab, layer).slice(2), to: layer.shape.slice(2) }))
    .filter(({ from, to }) => from.length === 2 && String(from) !== String(to));
  if (!changes.length) return "Every layer keeps the size of its maps.";
  const told = changes
    .slice(0, 3)
    .map(({ layer, from, to }) => `${layer.label} makes ${sizes(to)} of ${sizes(from)}`);
  return `${told.join(", ")}${changes.length > 3 ? ", and so on" : ""}.`;
}

function field({ lab }) {
  const layer = lab.convolutions.at(-1);
  const [, H] = lab.shape;
  const { row, rows } = widestField(lab, layer);
  const reach = layer.fields ? layer.fields[0][2] : H;
  return {
    title: "The receptive field",
    text: "A filter of a later layer reads a window of maps. Each pixel of these maps was computed from a window of the picture.",
    question: `How many rows of the picture can one pixel of ${layer.label} depend on?`,
    options: [rows, Math.max(1, rows - 3), 1, H, rows + 2].map(String),
    reveal:
      `${rows}${rows === H ? ", all of them" : ""}. ` +
      (reach > rows ? `Its window is ${reach} rows high, but the picture has only ${H}. ` : "") +
      "Point at its maps: the frame in the picture shows what a pixel sees.",
    section: "maps",
    act: {
      state: { selection: { layer: layer.number, channel: 0, row, col: Math.floor(layer.shape[3] / 2) } },
    },
  };
}

// The output row of a layer that depends on most rows of the picture, nearest to the middle, and their number.
function widestField(lab, layer) {
  const middle = Math.floor(layer.shape[2] / 2);
  const found = Array.from({ length: layer.shape[2] }, (_, row) => {
    const [first, end] = receptiveField(layer, row, 0, lab.shape).rows;
    return { row, rows: end - first };
  });
  const off = ({ row }) => Math.abs(row - middle);
  return found.sort((a, b) => b.rows - a.rows || off(a) - off(b))[0];
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
    act: lab.data.tape ? { state: { frame: 0 } } : null,
  };
}

function dense({ lab, layer }) {
  const { convolution, same, biased } = weightCounts(layer.convolution, lab.inputShape(layer.convolution));
  const times = same / convolution;
  const told = (n) => count(n, ...countedAs(biased));
  const asMany = (n) => {
    if (n < 2.5) return n < 1.5 ? "About as many" : "About twice as many";
    return `About ${Math.round(n).toLocaleString("en")} times as many`;
  };
  return {
    title: "Why not a dense layer?",
    text: `In a dense layer every output has a weight of its own for every pixel. ${layer.label} has ${told(convolution)}.`,
    question: `A dense layer reads and writes as many numbers as ${layer.label}. How many ${countedAs(biased)[1]} does it have?`,
    options: [asMany(times), asMany(2), asMany(Math.max(10, Math.sqrt(times))), asMany(1)],
    reveal: `${told(same)} against ${convolution.toLocaleString("en")}. And it would have to learn every pattern again at every place.`,
    section: "convolution",
  };
}
