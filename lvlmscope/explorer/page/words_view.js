// The words of the answer, shaded by the chosen signal; a word is chosen by pointer or keys.

import { h } from "./elements.js";
import { defined, numberText } from "./numbers.js";

export class WordsView {
  constructor(side) {
    this.side = side;
    const { data } = side;
    this.element = h("div", { className: "words", role: "group", "aria-label": `words of the answer${data.label ? `, ${data.label}` : ""}` });
    this.element.addEventListener("keydown", (event) => this.walk(event));
    this.shading = h("p", { className: "faint", "data-role": "shading" });
    this.buttons = [];
    let end = 0;
    data.words.forEach((word, number) => {
      this.element.append(number ? data.answer.slice(end, word.start) : data.answer.slice(0, word.start).trimStart());
      const mark = word.kind === "hallucinated" ? "is-wrong" : word.kind === "grounded" ? "is-true" : "";
      const button = h("button", { type: "button", className: mark, onclick: () => side.choose(number) }, data.answer.slice(word.start, word.end));
      this.buttons.push(button);
      this.element.append(button);
      end = word.end;
    });
    this.element.append(data.answer.slice(end));
  }

  walk(event) {
    const last = this.buttons.length - 1, { word } = this.side;
    const goal = { ArrowRight: word + 1, ArrowDown: word + 1, ArrowLeft: word - 1, ArrowUp: word - 1, Home: 0, End: last }[event.key];
    if (goal === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const chosen = Math.min(last, Math.max(0, goal));
    this.side.choose(chosen);
    this.buttons[chosen].focus();
  }

  draw() {
    const { signal } = this.side.explorer, values = this.side.signalValues(), shown = values.filter(defined);
    const low = Math.min(...shown), high = Math.max(...shown);
    this.buttons.forEach((button, number) => {
      const value = values[number], word = this.side.data.words[number];
      const share = defined(value) && high > low ? (value - low) / (high - low) : 0;
      button.style.setProperty("--shade", share.toFixed(3));
      button.setAttribute("aria-pressed", String(number === this.side.word));
      button.tabIndex = number === this.side.word ? 0 : -1;
      button.title = `${signal.name}: ${numberText(value, signal.unit)}${word.kind ? `; ${word.kind}` : ""}`;
    });
    const missing = values.length - shown.length;
    const text = shown.length ? `words shaded by ${signal.name}, from ${numberText(low)} to ${numberText(high, signal.unit)}` : `${signal.name} is not defined for any word`;
    this.shading.textContent = text + (shown.length && missing ? ` (not defined for ${missing} of ${values.length} words)` : "");
  }
}
