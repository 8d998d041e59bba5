// The image maps of all heads of all layers at a glance, for the chosen word.

import { figureButtons } from "./figure_files.js";
import { h, options } from "./elements.js";
import { LayerHeadGrid } from "./layer_head_grid.js";
import { greatest, numberText, total } from "./numbers.js";

const SMALLEST = 12, GREATEST = 72; // pixels across a map

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

export class HeadGrid extends LayerHeadGrid {
  constructor(side) {
    super(side);
    this.rows = null;
    this.canvas.dataset.role = "grid";
    this.told.dataset.role = "grid-text";
    this.note = h("span", { className: "faint" });
    this.scaling = h("select", { "data-role": "grid-scale", "aria-label": "scale of the maps", onchange: () => this.draw() });
    options(this.scaling, [["own", "each map to its own maximum"], ["shared", "one scale for all maps"]], "own");
    this.element = h("figure", {}, h("div", { className: "wide" }, this.canvas), h("div", { className: "legend" }, this.scaling, this.legend),
      h("figcaption", {}, this.told, " ", this.note), figureButtons(this));
  }

  async load() {
    const { side } = this, { source } = side.explorer;
    this.rows = null;
    const found = await source.grid(side.number, side.quantity().id, side.word, this.layers * this.heads, side.data.cells);
    return () => Object.assign(this, { rows: found.rows, gridNote: found.note });
  }

  box(width) {
    const [wide, tall] = this.side.panelShown().size, across = Math.min(GREATEST, Math.max(SMALLEST, (width - 44) / this.heads));
    return { ...this.place(44 + across * this.heads, across * Math.min(2, Math.max(0.5, tall / wide)), across) };
  }

  draw() {
    if (!this.rows) return;
    const width = this.canvas.parentElement.clientWidth || 320, box = this.box(width);
    this.canvas.style.width = `${box.width}px`;
    super.draw();
    const own = this.scaling.value === "own", { colours } = this.side.explorer.data, high = this.high();
    this.side.legend(this.legend, { stops: colours.map, low: 0, high: own ? 1 : high }, [], this.scaleText());
    this.note.textContent = this.gridNote || "";
  }

  scaleText() {
    const { name, unit } = this.side.quantity();
    return this.scaling.value === "own" ? "share of each map's own maximum" : `${name} per image token, ${unit}`;
  }

  high() {
    return Math.max(...Array.from(this.rows.values(), greatest)) || 1;
  }

  // Which cell each pixel of one small map shows; -1 for none.
  raster(wide, tall) {
    const { size, boxes, cells } = this.side.panelShown(), found = new Int32Array(wide * tall).fill(-1);
    boxes.forEach(([left, top, right, bottom], n) => {
      for (let y = Math.floor((top / size[1]) * tall); y < Math.min(tall, Math.ceil((bottom / size[1]) * tall)); y++)
        for (let x = Math.floor((left / size[0]) * wide); x < Math.min(wide, Math.ceil((right / size[0]) * wide)); x++) found[y * wide + x] = cells[n];
    });
    return found;
  }

  paintCells(pen, box, colours) {
    const fine = 2, { x, y } = this.corners(box), { colours: { map, undefined: grey } } = this.side.explorer.data;
    const palette = map.map(channels), blank = channels(grey), high = this.high(), own = this.scaling.value === "own";
    const wide = Math.max(1, Math.round(box.across - 1) * fine), tall = Math.max(1, Math.round(box.tall - 1) * fine), raster = this.raster(wide, tall);
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(box.across * this.heads * fine);
    canvas.height = Math.round(box.tall * this.layers * fine);
    const under = canvas.getContext("2d"), tile = under.createImageData(wide, tall);
    for (let layer = 0; layer < this.layers; layer++) for (let head = 0; head < this.heads; head++) {
      const row = this.rows.get(layer * this.heads + head);
      if (!row) continue;
      const top = (own ? greatest(row) : high) || 1;
      raster.forEach((cell, n) => {
        const value = cell < 0 ? NaN : row[cell], shown = Number.isFinite(value) ? palette[Math.round(Math.min(1, Math.max(0, value / top)) * (palette.length - 1))] : blank;
        tile.data.set(shown, 4 * n);
        tile.data[4 * n + 3] = cell < 0 ? 0 : 255;
      });
      under.putImageData(tile, Math.round((x(head) - box.left) * fine), Math.round((y(layer) - box.top) * fine));
    }
    pen.drawImage(canvas, box.left, box.top, box.across * this.heads, box.tall * this.layers);
    this.paintMissing(pen, box, colours);
  }

  paintMissing(pen, box, colours) {
    const { x, y } = this.corners(box);
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1;
    for (let place = 0; place < this.layers * this.heads; place++) {
      if (this.rows.has(place)) continue;
      const left = x(place % this.heads), top = y(Math.floor(place / this.heads));
      pen.beginPath();
      pen.moveTo(left, top + box.tall - 1);
      pen.lineTo(left + box.across - 1, top);
      pen.stroke();
    }
  }

  describe() {
    const spot = this.spot(), row = spot && this.rows?.get(spot[0] * this.heads + spot[1]), { unit } = this.side.quantity();
    const text = spot ? `${this.cellText(spot)}: ${row ? `${numberText(total(row), unit)} on the image, at most ${numberText(greatest(row))} on one token` : "not in the file"}` : "Select a map to show it over the image.";
    this.told.textContent = text;
    const name = `image maps of all ${this.layers * this.heads} heads for the word “${this.side.wordText()}”`;
    this.canvas.setAttribute("aria-label", `${name}. ${text} Arrow keys move, Enter selects, Escape resets.`);
  }

  figure() {
    const width = Math.max(600, this.canvas.clientWidth), box = this.box(width), own = this.scaling.value === "own", { map } = this.side.explorer.data.colours;
    const word = this.side.wordText();
    return {
      name: `all-heads-${word}`, title: this.side.titled(`“${word}”: ${this.side.quantity().name}, every layer and head`),
      width: box.width, height: box.height, paint: (pen, colours) => this.paintGrid(pen, box, colours),
      scale: { stops: map, low: 0, high: own ? 1 : this.high(), text: this.scaleText() }, notes: [this.note.textContent],
    };
  }
}
