// Panel "Lessons": twelve steps, each "predict, then reveal".  Everything works by keyboard.

import { button, element, named, panel, replace } from "../dom.js";
import { LESSON_COUNT, makeLesson } from "../lessons.js";
import { count } from "../words.js";

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
    this.asked = null; // what the question on the screen says; null after the answer
    this.dots = element("ol", { class: "dots", "aria-hidden": "true" });
    this.body = element("div", { class: "lesson" });
    lab.on("values", () => this.asked === null || this.askAnew());
    lab.on("restored", () => this.show(lab.state.lesson));
  }

  // Ask a question about the picture and the network as the reader has them.
  show(number) {
    this.lab.endDemonstration();
    this.lab.update();
    this.shown = number;
    this.ask(makeLesson(this.lab, number));
  }

  // The picture or the weights changed: the question may be another one, and keeps a prediction that is still possible.
  askAnew() {
    const lesson = makeLesson(this.lab, this.shown);
    if (textOf(lesson) === this.asked) return;
    const chosen = this.body.querySelector(":checked")?.value;
    this.ask(lesson);
    for (const input of this.body.querySelectorAll("input")) input.checked = input.value === chosen;
  }

  ask(lesson) {
    const number = this.shown;
    this.asked = textOf(lesson);
    const form = element(
      "form",
      { onsubmit: (event) => this.answer(event, form) },
      element("h3", { tabindex: -1 }, `${number + 1} of ${LESSON_COUNT}: ${lesson.title}`),
      element("p", {}, named(lesson.text)),
      lesson.blocked ? element("p", { class: "warning" }, named(lesson.blocked)) : makeQuestion(lesson, number),
      element("p", { class: "warning", role: "alert" }),
      element(
        "div",
        { class: "buttons" },
        lesson.blocked
          ? this.nextButton(number)
          : element("button", { type: "submit", class: "primary", id: "reveal" }, "Reveal"),
        this.backButton(number),
      ),
    );
    replace(this.body, form);
    this.drawDots(number);
  }

  nextButton(number) {
    const last = number === LESSON_COUNT - 1;
    const go = () => (last ? this.finish() : this.go(number + 1));
    return button(last ? "Finish" : "Next →", go, { class: "primary", id: "next" });
  }

  backButton(number) {
    return number ? button("← Back", () => this.go(number - 1)) : null;
  }

  drawDots(number) {
    replace(
      this.dots,
      ...Array.from({ length: LESSON_COUNT }, (_, i) =>
        element("li", { class: [i === number ? "now" : "", this.done.has(i) ? "done" : ""].join(" ") }),
      ),
    );
  }

  answer(event, form) {
    event.preventDefault();
    this.lab.update(); // a change that was made just now counts
    const lesson = makeLesson(this.lab, this.shown);
    const chosen = new FormData(form).get("answer");
    if (textOf(lesson) !== this.asked) return;
    if (chosen === null) {
      form.querySelector(".warning").textContent = "Predict first: choose one of the answers.";
      return;
    }
    const right = chosen === lesson.options[0];
    if (right && !this.done.has(this.shown)) this.right++;
    this.done.add(this.shown);
    this.asked = null;
    if (lesson.act) this.lab.demonstrate(lesson.act);
    this.reveal(lesson, chosen, right);
  }

  reveal(lesson, chosen, right) {
    const number = this.shown;
    const next = this.nextButton(number);
    const see = button("Show me", () => document.getElementById(lesson.section).scrollIntoView(), { id: "show-me" });
    replace(
      this.body,
      element("h3", {}, `${number + 1} of ${LESSON_COUNT}: ${lesson.title}`),
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

  go(number) {
    this.show(number);
    this.lab.set({ lesson: number }, "lesson");
    this.body.querySelector("h3").focus({ preventScroll: true });
  }

  finish() {
    this.lab.endDemonstration();
    this.asked = null;
    replace(
      this.body,
      element("h3", { tabindex: -1, id: "finished" }, "You finished the lessons"),
      element(
        "p",
        {},
        `${this.right} of ${count(this.done.size, "prediction")} ${this.done.size === 1 ? "was" : "were"} right. Now draw something that the network gets wrong, and find out why.`,
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

function makeQuestion({ question, options }, number) {
  const answers = arrange(options).map((text, i) => makeOption(text, i, number));
  return element("fieldset", {}, element("legend", {}, named(question)), answers);
}

// What a lesson asks, without what is right.
function textOf({ text, question, options = [], blocked }) {
  return JSON.stringify([text, question, blocked, arrange(options)]);
}

// The right option and two others, without repetitions, in an order that does not tell which one is right.
function arrange(options) {
  const hash = (text) => Array.from(text).reduce((sum, letter) => (31 * sum + letter.codePointAt(0)) % 1009, 7);
  const unique = [...new Set(options)].slice(0, 3);
  return unique.sort((a, b) => hash(a) - hash(b) || (a < b ? -1 : 1));
}

function makeOption(text, i, number) {
  return element(
    "label",
    { class: "option" },
    element("input", { type: "radio", name: "answer", value: text, id: `option-${number}-${i}` }),
    element("span", {}, named(text)),
  );
}
