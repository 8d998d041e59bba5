// A grid of layers (first at the bottom) by query heads: numbers along the axes, choice of a cell by pointer or keys.
// The layer x head map and the grid of all heads are such grids; they fill the cells.

import { h } from "./elements.js";
import { FONT, frame, sized, thinned } from "./pens.js";

export class LayerHeadGrid {
  constructor(side) {
    this.side = side;
    this.cursor = null;
    const { data } = side;
    this.layers = data.layers.length;
    this.heads = data.heads;
    this.canvas = h("canvas", { className: "cells", tabIndex: 0, role: "application", "aria-label": "the selected word in each layer and each head" });
    this.canvas.addEventListener("keydown", (event) => this.keyed(event));
    this.canvas.addEventListener("click", (event) => {
      const cell = this.cellAt(event);
      if (cell) side.explorer.chooseCell(...cell);
    });
    this.canvas.addEventListener("pointermove", (event) => { this.cursor = this.cellAt(event); this.describe(); });
    this.canvas.addEventListener("pointerleave", () => { this.cursor = null; this.describe(); });
    this.canvas.addEventListener("blur", () => { this.cursor = null; this.draw(); });
    this.legend = h("div", { className: "legend" });
    this.told = h("span", { "aria-live": "polite" });
  }

  // Where the cells lie on a canvas of a width.
  place(width, tall, across = (width - 44) / this.heads) {
    return { width, height: Math.ceil(tall * this.layers + 40), left: 40, top: 4, across, tall };
  }

  cellAt(event) {
    const box = this.box(this.canvas.clientWidth || 320), head = Math.floor((event.offsetX - box.left) / box.across);
    const layer = this.layers - 1 - Math.floor((event.offsetY - box.top) / box.tall);
    return head >= 0 && head < this.heads && layer >= 0 && layer < this.layers ? [layer, head] : null;
  }

  keyed(event) {
    const step = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key], { state } = this.side.explorer;
    if (step) {
      const [layer, head] = this.cursor || [state.low === state.high ? state.low : 0, state.head ?? 0];
      const at = this.cursor ? [layer + step[0], head + step[1]] : [layer, head];
      this.cursor = [Math.min(this.layers - 1, Math.max(0, at[0])), Math.min(this.heads - 1, Math.max(0, at[1]))];
      this.draw();
    } else if ((event.key === "Enter" || event.key === " ") && this.cursor) this.side.explorer.chooseCell(...this.cursor);
    else if (event.key === "Escape") { this.cursor = null; this.side.explorer.reset(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  corners(box) {
    return {
      x: (head) => Math.round(box.left + head * box.across),
      y: (layer) => Math.round(box.top + (this.layers - 1 - layer) * box.tall),
    };
  }

  draw() {
    const box = this.box(this.canvas.clientWidth || 320);
    this.paintGrid(sized(this.canvas, box.width, box.height), box, this.side.explorer.palette());
    this.describe();
  }

  paintGrid(pen, box, colours) {
    this.paintCells(pen, box, colours);
    this.paintAxes(pen, box, colours);
    this.paintChoice(pen, box);
  }

  paintAxes(pen, box, colours) {
    const { x, y } = this.corners(box), under = box.top + box.tall * this.layers;
    Object.assign(pen, { fillStyle: colours.faint, font: FONT, textBaseline: "middle", textAlign: "right" });
    for (const layer of thinned(this.layers, Math.floor((box.tall * this.layers) / 16) || 1)) pen.fillText(String(this.side.data.layers[layer]), box.left - 4, y(layer) + box.tall / 2);
    pen.textAlign = "center";
    for (const head of thinned(this.heads, Math.floor((box.across * this.heads) / 26) || 1)) pen.fillText(String(head), x(head) + box.across / 2, under + 10);
    pen.fillText("query head", box.left + (box.across * this.heads) / 2, under + 26);
    pen.save();
    pen.translate(9, box.top + (box.tall * this.layers) / 2);
    pen.rotate(-Math.PI / 2);
    pen.fillText("layer", 0, 0);
    pen.restore();
  }

  paintChoice(pen, box) {
    const { x, y } = this.corners(box), { state } = this.side.explorer;
    if (state.low > 0 || state.high < this.layers - 1 || state.head !== null) {
      const first = state.head === null ? 0 : state.head, last = state.head === null ? this.heads : state.head + 1;
      frame(pen, x(first), y(state.high), x(last) - x(first), y(state.low - 1) - y(state.high));
    }
    if (this.cursor) frame(pen, x(this.cursor[1]), y(this.cursor[0]), box.across, box.tall, "#e69f00");
  }

  // The cell under the pointer, or the one that is chosen.
  spot() {
    const { state } = this.side.explorer;
    return this.cursor || (state.head !== null && state.low === state.high ? [state.low, state.head] : null);
  }

  cellText([layer, head]) {
    return `layer ${this.side.data.layers[layer]}, head ${head}`;
  }
}
