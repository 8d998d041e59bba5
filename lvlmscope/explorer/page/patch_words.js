// From patches to words: which words of the answer attend to the chosen patches.

import { bar, h } from "./elements.js";
import { greatest, numberText } from "./numbers.js";

const SHOWN = 8;

export class PatchWords {
  constructor(side) {
    this.side = side;
    this.values = null;
    this.told = h("p", { className: "faint", "data-role": "patch-text" });
    this.table = h("table", { "data-role": "patch-words" });
    this.element = h("div", { className: "patch-words", hidden: true }, h("h3", {}, "Words that attend to the selected patches"), this.told, this.table,
      h("button", { type: "button", "data-role": "clear-patches", onclick: () => side.explorer.chooseCells(new Set()) }, "clear the selection"));
  }

  async load() {
    const { side } = this, { source, state } = side.explorer;
    if (!state.cells.size || side.quantity().given) return () => { this.values = null; };
    const cells = [...state.cells].filter((cell) => cell < side.data.cells).sort((a, b) => a - b);
    const found = await source.looked(side.number, side.quantity().id, cells, state.low, state.high, state.head);
    return () => Object.assign(this, { values: Array.from(found.values), lookNote: found.note });
  }

  draw() {
    this.element.hidden = !this.values;
    if (!this.values) return;
    const { side } = this, { explorer } = side, { unit, label } = side.quantity(), top = greatest(this.values) || 1;
    const order = this.values.map((_, n) => n).filter((n) => this.values[n] > 0).sort((a, b) => this.values[b] - this.values[a]).slice(0, SHOWN);
    const { cells, head } = explorer.state, tokens = cells.size === 1 ? "1 image token" : `${cells.size} image tokens together`;
    this.told.textContent = `${label} on ${tokens}, ${explorer.chosenText(head)}; the answer's words are shaded by it. ${this.lookNote}`;
    this.table.replaceChildren(h("tbody", {}, ...order.map((n) => h("tr", {},
      h("th", { scope: "row" }, h("button", { type: "button", className: "plain", onclick: () => side.choose(n) }, side.data.words[n].text)),
      h("td", { className: "number", "data-word": n, "data-value": String(this.values[n]) }, numberText(this.values[n], unit)),
      h("td", {}, bar(this.values[n] / top))))));
  }
}
