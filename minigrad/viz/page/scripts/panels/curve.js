// A line chart with a marker, drawn as SVG.

import { element } from "../dom.js";
import { number } from "../words.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [320, 170, 44, 28];

function shape(tag, attributes, text = "") {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.textContent = text;
  return node;
}

// choose(i) is called for the point that is clicked.  mark(i) moves the marker; setData draws other points.
export function makeCurve(title, steps, losses, choose = () => {}) {
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title, class: "curve" });
  const marker = shape("circle", { r: 5, class: "marker" });
  let places = [];
  const mark = (i) => {
    const place = places[i];
    marker.style.display = place ? "" : "none";
    if (!place) return;
    marker.setAttribute("cx", place.x);
    marker.setAttribute("cy", place.y);
  };
  const setData = (newSteps, newLosses) => {
    places = drawAxes(svg, title, newSteps, newLosses);
    svg.append(marker);
  };
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * WIDTH;
    const distance = (i) => Math.abs((places[i]?.x ?? Infinity) - x);
    choose(places.reduce((best, _, i) => (distance(i) < distance(best) ? i : best), 0));
  });
  setData(steps, losses);
  return { node: element("figure", { class: "chart" }, svg), mark, setData };
}

function drawAxes(svg, title, steps, losses) {
  const finite = losses.filter((loss) => Number.isFinite(loss));
  const most = Math.max(...finite, 1e-6);
  const end = Math.max(steps.at(-1) ?? 1, 1);
  const right = WIDTH - 10;
  const bottom = HEIGHT - BOTTOM;
  const x = (step) => LEFT + ((right - LEFT) * step) / end;
  const y = (loss) => bottom - ((bottom - 22) * loss) / most;
  const places = steps.map((step, i) => (Number.isFinite(losses[i]) ? { x: x(step), y: y(losses[i]) } : null));
  const line = places
    .filter(Boolean)
    .map((place) => `${place.x.toFixed(1)},${place.y.toFixed(1)}`)
    .join(" ");
  svg.replaceChildren(
    shape("path", { d: `M${LEFT} 22V${bottom}H${right}`, class: "axis" }),
    shape("polyline", { points: line, class: "line" }),
    shape("text", { x: LEFT, y: 13, class: "heading" }, title),
    shape("text", { x: LEFT - 5, y: 27, "text-anchor": "end" }, finite.length ? number(most, 2) : ""),
    shape("text", { x: LEFT - 5, y: bottom + 4, "text-anchor": "end" }, "0"),
    shape("text", { x: LEFT, y: HEIGHT - 9 }, "0"),
    shape("text", { x: right, y: HEIGHT - 9, "text-anchor": "end" }, `step ${end.toLocaleString("en")}`),
  );
  return places;
}
