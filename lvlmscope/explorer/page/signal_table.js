// The signals of the chosen words, one column for each answer that is shown.

import { h } from "./elements.js";
import { numberText } from "./numbers.js";

export class SignalTable {
  constructor(explorer) {
    this.explorer = explorer;
    this.table = h("table", { className: "signals", "data-role": "numbers" });
    this.meanings = h("dl", { className: "meanings" });
    this.element = h("div", {}, this.table, h("details", { className: "narrow-only" }, h("summary", {}, "What the signals measure"), this.meanings));
  }

  draw(sides) {
    const chosen = sides.filter((side) => side.word >= 0), { data } = this.explorer;
    const signals = data.signals.filter((signal) => chosen.some((side) => side.data.values[signal.id]));
    const cell = (side, signal) => {
      const value = side.data.values[signal.id]?.[side.word];
      return h("td", { className: "number", "data-signal": signal.id, "data-side": side.number, "data-value": String(value) }, numberText(value));
    };
    const heading = (side) => h("th", { scope: "col", className: "number" }, `“${side.wordText()}”`, side.data.label ? h("small", {}, side.data.label) : null);
    this.table.replaceChildren(
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "signal"), ...chosen.map(heading),
        h("th", { scope: "col" }, "unit"), h("th", { scope: "col", className: "meaning" }, "what it measures"))),
      h("tbody", {}, ...signals.map((signal) => h("tr", {}, h("th", { scope: "row" }, signal.name), ...chosen.map((side) => cell(side, signal)),
        h("td", { className: "faint" }, signal.unit), h("td", { className: "meaning faint" }, signal.meaning)))));
    this.meanings.replaceChildren(...signals.flatMap((signal) => [h("dt", {}, signal.name), h("dd", {}, signal.meaning)]));
  }
}
