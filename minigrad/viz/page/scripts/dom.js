// Build elements.  All text goes in as text, never as markup.

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

function setAttribute(node, name, value) {
  if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
  else if (value === true) node.setAttribute(name, "");
  else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
}

// A name that the user chose.  It is isolated, so that right-to-left text does not reorder its surroundings.
export function named(text) {
  const parts = String(text).split(/(?<=[._])/); // a long path may break after a dot
  return element(
    "bdi",
    {},
    parts.flatMap((part, i) => (i ? [element("wbr"), part] : [part])),
  );
}

export function replace(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

export function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

// A labelled slider with its value beside it.  set(value) moves it without an event.
export function slider(label, { min, max, step = 1, value, format = String, id }, oninput) {
  const shown = element("output", {}, format(value));
  const input = element("input", { type: "range", min, max, step, value, id });
  const set = (next) => {
    input.value = next;
    shown.textContent = format(Number(input.value));
  };
  input.addEventListener("input", () => {
    shown.textContent = format(Number(input.value));
    oninput(Number(input.value));
  });
  const node = element("label", { class: "slider" }, element("span", {}, label), input, shown);
  return { node, input, set };
}

export function checkbox(label, checked, onchange, attributes = {}) {
  const input = element("input", { type: "checkbox", checked, ...attributes });
  input.addEventListener("change", () => onchange(input.checked));
  return { node: element("label", { class: "check" }, input, element("span", {}, label)), input };
}

// A labelled choice.  options are [value, text].
export function choice(label, options, value, onchange, attributes = {}) {
  const items = options.map(([key, text]) =>
    element("option", { value: key, selected: key === value, dir: "auto" }, text),
  );
  const input = element("select", attributes, items);
  input.addEventListener("change", () => onchange(input.value));
  return { node: element("label", { class: "choice" }, element("span", {}, label), input), input };
}

// A card of the page: heading, one sentence on what it shows, content.
export function panel(id, title, lead, ...children) {
  return element(
    "section",
    { class: "card", id, "aria-labelledby": `${id}-title` },
    element("h2", { id: `${id}-title` }, title),
    lead ? element("p", { class: "lead" }, lead) : null,
    ...children,
  );
}

export function figure(caption, ...children) {
  return element("figure", {}, ...children, element("figcaption", {}, caption));
}

// Draw at these events of the lab while an element is near the visible part of the page, otherwise when it comes there.
export function drawWhenSeen(node, lab, events, draw) {
  let due = true;
  const update = () => {
    due = node.seen === false;
    if (!due) draw();
  };
  lab.on(events, update);
  whenVisible(node, () => due && lab.values && update());
}

// Call a function whenever an element comes near the visible part of the page.
export function whenVisible(node, callback) {
  const observer = new IntersectionObserver(
    (entries) => {
      node.seen = entries[entries.length - 1].isIntersecting;
      if (node.seen) callback();
    },
    { rootMargin: "200px" },
  );
  observer.observe(node);
}
