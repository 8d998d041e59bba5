// All words with all signals, one column each; a click on a heading sorts by it.

import { h } from "./elements.js";
import { defined, numberText } from "./numbers.js";

const MARKS = { hallucinated: "is-wrong", grounded: "is-true" };

export class WordTable {
  constructor(side) {
    this.side = side;
    this.order = { column: "word", down: false };
    this.element = h("div", { className: "wide", "data-role": "word-table", tabIndex: 0 });
  }

  columns() {
    const { data, explorer } = this.side;
    return explorer.data.signals.filter((signal) => data.values[signal.id]);
  }

  // Undefined values come last whichever way the others are sorted.
  sorted() {
    const { data } = this.side, { column, down } = this.order, numbers = data.words.map((_, n) => n);
    const values = column === "word" ? numbers : data.values[column] || numbers, sign = down ? -1 : 1;
    return numbers.sort((a, b) => defined(values[b]) - defined(values[a]) || (defined(values[a]) ? sign * (values[a] - values[b]) : 0) || a - b);
  }

  sort(column) {
    const same = this.order.column === column;
    this.order = { column, down: same ? !this.order.down : column !== "word" };
    this.draw();
    this.element.querySelector(`[data-sort="${CSS.escape(column)}"]`).focus();
  }

  heading(id, text, title = "") {
    const { column, down } = this.order, sorted = column === id ? (down ? "descending" : "ascending") : "none";
    const mark = column === id ? (down ? " ↓" : " ↑") : "";
    return h("th", { scope: "col", "aria-sort": sorted }, h("button", { type: "button", className: "plain", title, "data-sort": id, onclick: () => this.sort(id) }, text + mark));
  }

  draw() {
    const { side } = this, columns = this.columns(), { words, values } = side.data;
    const rows = this.sorted().map((n) => h("tr", { "aria-selected": String(n === side.word) },
      h("th", { scope: "row" }, h("button", { type: "button", className: `plain ${MARKS[words[n].kind] || ""}`, "data-word": n, onclick: () => side.choose(n) }, words[n].text)),
      ...columns.map(({ id }) => h("td", { className: "number" }, defined(values[id][n]) ? numberText(values[id][n]) : "–"))));
    this.element.replaceChildren(h("table", {},
      h("thead", {}, h("tr", {}, this.heading("word", "word, in order"),
        ...columns.map((signal) => this.heading(signal.id, `${signal.name} (${signal.unit})`, signal.meaning)))),
      h("tbody", {}, ...rows)));
  }
}
