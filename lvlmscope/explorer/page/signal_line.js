// The chosen signal, word by word, as a line.

import { figureButtons } from "./figure_files.js";
import { h } from "./elements.js";
import { defined, numberText } from "./numbers.js";
import { FONT, sized } from "./pens.js";
import { timelineCode } from "./python_code.js";

const HEIGHT = 92;

export class SignalLine {
  constructor(side) {
    this.side = side;
    this.canvas = h("canvas", { className: "line", role: "img", onclick: (event) => this.choose(event) });
    this.element = h("div", {}, this.canvas, figureButtons(this));
  }

  across(width) {
    const count = this.side.data.words.length;
    return (n) => 8 + (count > 1 ? (n / (count - 1)) * (width - 16) : (width - 16) / 2);
  }

  draw() {
    const width = this.canvas.clientWidth || 320;
    this.paint(sized(this.canvas, width, HEIGHT), width, this.side.explorer.palette());
    const { signal } = this.side.explorer, values = this.side.signalValues();
    this.canvas.setAttribute("aria-label", `${signal.name} over ${values.length} words; at the selected word ${numberText(values[this.side.word], signal.unit)}`);
  }

  paint(pen, width, colours) {
    const { signal, range: [low, high] } = this.side.explorer, values = this.side.signalValues(), { word } = this.side;
    const x = this.across(width), y = (value) => 18 + (1 - (value - low) / (high - low || 1)) * (HEIGHT - 28);
    pen.lineWidth = 1;
    pen.strokeStyle = colours.line;
    pen.beginPath(); pen.moveTo(0, y(low)); pen.lineTo(width, y(low)); pen.stroke();
    pen.fillStyle = colours.ink;
    pen.fillRect(x(word) - 0.5, 14, 1, HEIGHT - 14);
    pen.strokeStyle = colours.accent;
    pen.lineWidth = 1.5;
    pen.beginPath();
    let broken = true;
    values.forEach((value, n) => {
      if (!defined(value)) { broken = true; return; }
      if (broken) pen.moveTo(x(n), y(value)); else pen.lineTo(x(n), y(value));
      broken = false;
    });
    pen.stroke();
    this.paintPoints(pen, values, x, y, colours);
    pen.fillStyle = colours.faint;
    pen.font = FONT;
    pen.textAlign = "left";
    pen.textBaseline = "alphabetic";
    pen.fillText(`${signal.name} (${signal.unit}), ${numberText(low)} to ${numberText(high)}, word by word`, 4, 11, width - 8);
  }

  paintPoints(pen, values, x, y, colours) {
    values.forEach((value, n) => {
      const { kind } = this.side.data.words[n], chosen = n === this.side.word;
      if (!defined(value) || (values.length > 150 && !kind && !chosen)) return;
      pen.fillStyle = kind === "hallucinated" ? colours.wrong : kind === "grounded" ? colours.good : colours.accent;
      const size = chosen ? 5 : kind ? 4 : 2.5;
      pen.beginPath();
      if (kind === "hallucinated") pen.rect(x(n) - size, y(value) - size, 2 * size, 2 * size); else pen.arc(x(n), y(value), size, 0, 7);
      pen.fill();
    });
  }

  choose(event) {
    const x = this.across(this.canvas.clientWidth), { words } = this.side.data;
    let best = 0;
    for (let n = 1; n < words.length; n++) if (Math.abs(x(n) - event.offsetX) < Math.abs(x(best) - event.offsetX)) best = n;
    this.side.choose(best);
  }

  figure() {
    const width = Math.max(360, this.canvas.clientWidth), { signal } = this.side.explorer;
    return {
      name: `line-${signal.id.replace("@", "")}`, title: this.side.titled(`${signal.name} (${signal.unit}) at each word`),
      width, height: HEIGHT, paint: (pen, colours) => this.paint(pen, width, colours), notes: [],
    };
  }

  code() {
    const { id } = this.side.explorer.signal;
    return id.startsWith("@") || id === "risk" ? "# no function of lvlmscope.plot draws this line\n" : timelineCode(this.side);
  }
}
