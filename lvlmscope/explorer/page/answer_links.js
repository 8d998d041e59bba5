// What the chosen word attends to in the words before it: lines over the answer, thicker for more.

import { figureButtons } from "./figure_files.js";
import { h } from "./elements.js";
import { greatest, numberText, total } from "./numbers.js";
import { FONT, sized } from "./pens.js";

const ARCS = 96, LABELS = 74, NAMED = 6, APART = 15; // pixels; words that are named; pixels between their names

export class AnswerLinks {
  constructor(side) {
    this.side = side;
    this.values = null;
    this.canvas = h("canvas", { className: "line", role: "img", "data-role": "links", "aria-label": "lines from the selected word to the words before it", onclick: (event) => this.choose(event) });
    this.told = h("span", { "data-role": "links-text" });
    this.note = h("span", { className: "faint" });
    this.element = h("figure", {}, this.canvas, h("figcaption", {}, this.told, " ", this.note), figureButtons(this));
  }

  async load() {
    const { side } = this, { source, state } = side.explorer;
    this.values = null;
    const found = await source.links(side.number, side.quantity().id, side.word, state.low, state.high, state.head);
    return () => Object.assign(this, { values: found.values, linkNote: found.note });
  }

  across(width) {
    const count = this.side.data.words.length;
    return (n) => 8 + (count > 1 ? (n / (count - 1)) * (width - 16) : (width - 16) / 2);
  }

  draw() {
    if (!this.values) return;
    const width = this.canvas.clientWidth || 320;
    this.paint(sized(this.canvas, width, ARCS + LABELS), width, this.side.explorer.palette());
    const { unit, id } = this.side.quantity(), amount = total(this.values.slice(0, this.side.word + 1)), named = this.strongest();
    const told = id === "attention" ? `${numberText(100 * amount)} % of its attention` : numberText(amount, unit);
    const most = named.slice(0, 3).map((n) => `“${this.side.data.words[n].text}” ${numberText(this.values[n])}`).join(", ");
    this.told.textContent = `“${this.side.wordText()}”, ${this.side.explorer.chosenText(this.side.explorer.state.head)}: ${told} on the answer's words so far${most ? `; most on ${most}` : ""}`;
    this.told.dataset.sum = String(amount);
    this.note.textContent = this.linkNote;
    this.canvas.setAttribute("aria-label", `lines from the selected word to the words before it. ${this.told.textContent}`);
  }

  // Words with a value, the greatest first.
  strongest() {
    const { word } = this.side;
    return Array.from({ length: word + 1 }, (_, n) => n).filter((n) => this.values[n] > 0).sort((a, b) => this.values[b] - this.values[a]);
  }

  paint(pen, width, colours) {
    const { words } = this.side.data, { word } = this.side, x = this.across(width), top = greatest(this.values.slice(0, word + 1)) || 1;
    pen.lineWidth = 1;
    pen.strokeStyle = colours.line;
    pen.beginPath(); pen.moveTo(0, ARCS); pen.lineTo(width, ARCS); pen.stroke();
    for (const n of this.strongest().reverse()) {
      const share = this.values[n] / top, rise = Math.min(ARCS - 6, 10 + (x(word) - x(n)) * 0.5);
      if (share < 0.01) continue;
      pen.strokeStyle = pen.fillStyle = colours.accent;
      pen.globalAlpha = 0.15 + 0.85 * share;
      pen.lineWidth = 0.5 + 4 * share;
      pen.beginPath();
      if (n === word) { pen.arc(x(n), ARCS - 5, 3 + 2 * share, 0, 7); pen.stroke(); continue; }
      pen.moveTo(x(word), ARCS);
      pen.quadraticCurveTo((x(word) + x(n)) / 2, ARCS - 2 * rise, x(n), ARCS);
      pen.stroke();
    }
    pen.globalAlpha = 1;
    words.forEach((_, n) => {
      pen.fillStyle = n === word ? colours.ink : colours.faint;
      pen.fillRect(x(n) - (n === word ? 1 : 0.5), ARCS, n === word ? 2 : 1, n === word ? 8 : 4);
    });
    this.paintNames(pen, x, colours);
  }

  paintNames(pen, x, colours) {
    const { words } = this.side.data, { word } = this.side, kept = [];
    for (const n of [word, ...this.strongest()]) if (kept.length <= NAMED && kept.every((other) => Math.abs(x(other) - x(n)) >= APART)) kept.push(n);
    Object.assign(pen, { font: FONT, textAlign: "right", textBaseline: "middle" });
    for (const n of kept) {
      pen.fillStyle = n === word ? colours.ink : colours.faint;
      pen.save();
      pen.translate(x(n), ARCS + 11);
      pen.rotate(-Math.PI / 2);
      pen.fillText(words[n].text.slice(0, 10), 0, 0);
      pen.restore();
    }
  }

  choose(event) {
    const x = this.across(this.canvas.clientWidth);
    let best = 0;
    this.side.data.words.forEach((_, n) => { if (Math.abs(x(n) - event.offsetX) < Math.abs(x(best) - event.offsetX)) best = n; });
    this.side.choose(best);
  }

  figure() {
    const width = Math.max(360, this.canvas.clientWidth);
    return {
      name: `answer-links-${this.side.wordText()}`, title: this.side.titled(this.told.textContent), width, height: ARCS + LABELS,
      paint: (pen, colours) => this.paint(pen, width, colours), notes: [this.note.textContent],
    };
  }
}
