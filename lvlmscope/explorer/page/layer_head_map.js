// A word's value in each layer and head.

import { figureButtons } from "./figure_files.js";
import { h } from "./elements.js";
import { LayerHeadGrid } from "./layer_head_grid.js";
import { numberText } from "./numbers.js";
import { scaleOf } from "./pens.js";
import { heatmapCode } from "./python_code.js";

export class LayerHeadMap extends LayerHeadGrid {
  constructor(side) {
    super(side);
    this.canvas.classList.add("heat");
    this.canvas.dataset.role = "heat";
    this.told.dataset.role = "heat-text";
    this.element = h("figure", {}, this.canvas, this.legend, h("figcaption", {}, this.told), figureButtons(this));
  }

  box(width) {
    const across = (width - 44) / this.heads;
    return this.place(width, Math.min(24, Math.max(5, Math.min(across, 420 / this.layers), 60 / this.layers)));
  }

  draw() {
    if (!this.side.values) return;
    super.draw();
    this.side.legend(this.legend, this.scale(), this.side.values, this.scaleText());
  }

  scale() {
    return scaleOf(this.side.explorer.data.colours, this.side.explorer.heatHigh);
  }

  scaleText() {
    const quantity = this.side.quantity();
    return `${quantity.name}, ${quantity.unit}; layer 0 at the bottom`;
  }

  paintCells(pen, box) {
    const { x, y } = this.corners(box), { colour } = this.scale();
    for (let layer = 0; layer < this.layers; layer++) for (let head = 0; head < this.heads; head++) {
      pen.fillStyle = colour(this.side.values[layer * this.heads + head]);
      pen.fillRect(x(head), y(layer), x(head + 1) - x(head), y(layer - 1) - y(layer));
    }
  }

  describe() {
    const { values } = this.side, spot = this.spot();
    if (!values) return;
    let text;
    if (spot) text = `${this.cellText(spot)}: ${numberText(values[spot[0] * this.heads + spot[1]], this.side.quantity().unit)}`;
    else {
      const order = [...values.keys()].filter((n) => Number.isFinite(values[n])).sort((a, b) => values[b] - values[a] || a - b);
      const named = (n) => `${this.cellText([Math.floor(n / this.heads), n % this.heads])} (${numberText(values[n])})`;
      text = order.length ? `highest: ${named(order[0])}; lowest: ${named(order.at(-1))}. Select a cell to show its map.` : "undefined in every head";
    }
    this.told.textContent = text;
    this.canvas.setAttribute("aria-label", `values of the word by layer and head. ${text} Arrow keys move, Enter selects, Escape resets.`);
  }

  figure() {
    const width = Math.max(360, this.canvas.clientWidth), box = this.box(width);
    const word = this.side.wordText();
    return {
      name: `heads-${word}`, title: this.side.titled(`“${word}”: ${this.side.quantity().name} in each layer and head`),
      width, height: box.height, paint: (pen, colours) => this.paintGrid(pen, box, colours),
      scale: { ...this.scale(), text: this.scaleText() }, notes: [],
    };
  }

  code() {
    return heatmapCode(this.side);
  }
}
