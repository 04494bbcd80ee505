// Panel "Lessons": twelve steps, each "predict, then reveal".  Everything works by keyboard.

import { button, element, named, panel, replace } from "../dom.js";
import { makeLessons } from "../lessons.js";

export const LESSONS = 12;

export function makeLessonsPanel(lab) {
  const lead = "Twelve small questions. Predict first, then reveal: the page shows what is true of this network.";
  if (!lab.convolutions.length) return panel("lessons", "Lessons", "The lessons need a model with a convolution.");
  const track = new Track(lab);
  return panel("lessons", "Lessons", lead, track.dots, track.body);
}

class Track {
  constructor(lab) {
    this.lab = lab;
    this.right = 0; // predictions that were right
    this.done = new Set();
    this.shown = null; // number of the lesson on the screen
    this.dots = element("ol", { class: "dots", "aria-hidden": "true" });
    this.body = element("div", { class: "lesson" });
    lab.on("values", () => this.shown ?? this.show(lab.state.lesson));
    lab.on("lesson", () => this.shown === lab.state.lesson || this.show(lab.state.lesson));
  }

  show(number) {
    this.shown = number;
    const lesson = makeLessons(this.lab)[number];
    const answers = arrange(lesson.options, number);
    const form = element(
      "form",
      { onsubmit: (event) => this.answer(event, lesson, form) },
      element("h3", { tabindex: -1 }, `${number + 1} of ${LESSONS}: ${lesson.title}`),
      element("p", {}, lesson.text),
      element(
        "fieldset",
        {},
        element("legend", {}, lesson.question),
        answers.map((text, i) => makeOption(text, i, number)),
      ),
      element("p", { class: "warning", role: "alert" }),
      element(
        "div",
        { class: "buttons" },
        element("button", { type: "submit", class: "primary", id: "reveal" }, "Reveal"),
        this.backButton(number),
      ),
    );
    replace(this.body, form);
    this.drawDots(number);
  }

  backButton(number) {
    return number ? button("← Back", () => this.go(number - 1)) : null;
  }

  drawDots(number) {
    replace(
      this.dots,
      ...Array.from({ length: LESSONS }, (_, i) =>
        element("li", { class: [i === number ? "now" : "", this.done.has(i) ? "done" : ""].join(" ") }),
      ),
    );
  }

  answer(event, lesson, form) {
    event.preventDefault();
    const chosen = new FormData(form).get("answer");
    if (chosen === null) {
      form.querySelector(".warning").textContent = "Predict first: choose one of the answers.";
      return;
    }
    const right = chosen === lesson.options[0];
    if (right && !this.done.has(this.shown)) this.right++;
    this.done.add(this.shown);
    lesson.act?.();
    this.undo = lesson.undo;
    this.reveal(lesson, chosen, right);
  }

  reveal(lesson, chosen, right) {
    const number = this.shown;
    const last = number === LESSONS - 1;
    const next = button(last ? "Finish" : "Next →", () => (last ? this.finish() : this.go(number + 1)), {
      class: "primary",
      id: "next",
    });
    const see = button("Show me", () => document.getElementById(lesson.section).scrollIntoView(), { id: "show-me" });
    replace(
      this.body,
      element("h3", {}, `${number + 1} of ${LESSONS}: ${lesson.title}`),
      element(
        "p",
        { class: right ? "verdict good" : "verdict" },
        right ? "✓ Right: " : "Not quite. It is: ",
        element("strong", {}, named(lesson.options[0])),
      ),
      element("p", {}, named(lesson.reveal)),
      element(
        "div",
        { class: "buttons" },
        next,
        see,
        button("Ask again", () => this.show(number)),
      ),
    );
    this.drawDots(number);
    next.focus({ preventScroll: true });
  }

  // Take back what the page did to show the last answer.
  leave() {
    this.undo?.();
    this.undo = null;
  }

  go(number) {
    this.leave();
    this.show(number);
    this.lab.set({ lesson: number }, "lesson");
    this.body.querySelector("h3").focus({ preventScroll: true });
  }

  finish() {
    this.leave();
    replace(
      this.body,
      element("h3", { tabindex: -1, id: "finished" }, "You finished the lessons"),
      element(
        "p",
        {},
        `${this.right} of ${LESSONS} predictions were right. Now draw something that the network gets wrong, and find out why.`,
      ),
      button("Start again", () => this.restart()),
    );
    this.body.querySelector("h3").focus({ preventScroll: true });
  }

  restart() {
    this.right = 0;
    this.done.clear();
    this.lab.resetWeights();
    this.lab.resetChanges();
    this.go(0);
  }
}

// The options without repetitions, the right one at a place that differs from lesson to lesson.
function arrange(options, number) {
  const unique = [...new Set(options)].slice(0, 3);
  const turn = (5 * number + 1) % unique.length;
  return [...unique.slice(turn), ...unique.slice(0, turn)];
}

function makeOption(text, i, number) {
  return element(
    "label",
    { class: "option" },
    element("input", { type: "radio", name: "answer", value: text, id: `option-${number}-${i}` }),
    element("span", {}, named(text)),
  );
}
