// A word's map over the image. Patches are chosen by click, by a dragged box or by keys.

import { figureButtons } from "./figure_files.js";
import { h, options } from "./elements.js";
import { numberText, total } from "./numbers.js";
import { frame, scaleOf, sized } from "./pens.js";
import { overlayCode } from "./python_code.js";

const DRAG = 4; // pixels that a pointer moves before a click becomes a box

export function placeText(panel, n) {
  const [left, top, right, bottom] = panel.boxes[n];
  return `x ${Math.round((left + right) / 2)}, y ${Math.round((top + bottom) / 2)}`;
}

// The image in shades of grey, as far as the map covers it, so that its colours are not taken for the map's.
function greyed(image, amount, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width));
  canvas.height = Math.max(1, Math.round(height));
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, canvas.width, canvas.height);
  const pixels = pen.getImageData(0, 0, canvas.width, canvas.height), { data } = pixels;
  for (let n = 0; n < data.length; n += 4) {
    const grey = 0.2126 * data[n] + 0.7152 * data[n + 1] + 0.0722 * data[n + 2];
    for (let part = 0; part < 3; part++) data[n + part] += amount * (grey - data[n + part]);
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

export class ImageMap {
  constructor(side) {
    this.side = side;
    this.cursor = null;
    this.drag = null;
    this.background = h("img", { alt: "the traced image" });
    this.canvas = h("canvas", { role: "application", tabIndex: 0 });
    this.listen();
    this.image = h("div", { className: "image" }, this.background, this.canvas);
    this.told = h("span", { "data-role": "map-text" });
    this.note = h("span", { className: "faint", "data-role": "map-note" });
    this.legend = h("div", { className: "legend" });
    this.panels = h("select", { "aria-label": "image, overview or tiles", onchange: () => side.explorer.update(() => { side.panel = Number(this.panels.value); }) });
    options(this.panels, side.data.panels.map((entry, n) => [n, entry.name]), 0);
    this.panels.hidden = side.data.panels.length < 2;
    this.element = h("figure", { className: "map" }, this.panels, this.image, this.legend,
      h("figcaption", { "aria-live": "polite" }, this.told, " ", this.note), figureButtons(this));
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.finish(event));
    canvas.addEventListener("pointercancel", () => { this.drag = null; this.draw(); });
    canvas.addEventListener("pointerleave", () => { if (!this.drag) this.describe(); });
    canvas.addEventListener("keydown", (event) => this.keyed(event));
    canvas.addEventListener("blur", () => { this.cursor = null; this.draw(); });
  }

  get panel() {
    return this.side.panelShown();
  }

  draw() {
    const { panel, side: { map, explorer: { state } } } = this, [width, height] = panel.size;
    this.image.style.aspectRatio = `${width} / ${height}`;
    this.background.hidden = !panel.image;
    if (panel.image && this.background.src !== panel.image) this.background.src = panel.image;
    this.background.style.filter = `grayscale(${Math.min(1, 2 * state.opacity)})`;
    this.panels.hidden = this.side.data.panels.length < 2 || Boolean(this.side.quantity().panels);
    const shown = this.canvas.clientWidth || 300, pen = sized(this.canvas, shown, (shown * height) / width);
    this.printing = window.matchMedia("print").matches;
    if (map && this.printing) this.paintForPaper(pen, shown, (shown * height) / width);
    else if (map) this.paintBoxes(pen, shown / width);
    this.paintChoice(pen, shown / width);
    this.side.legend(this.legend, this.scale(), map?.values || [], this.scaleText());
    this.describe();
  }

  // One picture of image and map: printed apart, the filter loses the image, and lines are seen between the patches.
  paintForPaper(pen, width, height) {
    const fine = 3, canvas = document.createElement("canvas"), under = canvas.getContext("2d");
    canvas.width = Math.round(width * fine);
    canvas.height = Math.round(height * fine);
    if (this.panel.image) under.drawImage(greyed(this.background, Math.min(1, 2 * this.side.explorer.state.opacity), canvas.width, canvas.height), 0, 0);
    this.paintBoxes(under, canvas.width / this.panel.size[0]);
    pen.drawImage(canvas, 0, 0, width, height);
  }

  scale() {
    return scaleOf(this.side.explorer.data.colours, this.side.explorer.mapHigh, this.side.quantity().signed);
  }

  scaleText() {
    const quantity = this.side.quantity();
    return `${quantity.name} per ${quantity.panels ? "part of the image" : "image token"}, ${quantity.unit}${quantity.over === "sum" ? "; sum over layers" : ""}`;
  }

  paintBoxes(pen, scale) {
    const { panel, side: { map, explorer: { state } } } = this, { colour } = this.scale();
    pen.globalAlpha = panel.image ? state.opacity : 1;
    panel.boxes.forEach(([left, top, right, bottom], n) => {
      pen.fillStyle = colour(map.values[panel.cells[n]]);
      const x = Math.round(left * scale), y = Math.round(top * scale);
      pen.fillRect(x, y, Math.round(right * scale) - x, Math.round(bottom * scale) - y);
    });
    pen.globalAlpha = 1;
  }

  paintChoice(pen, scale) {
    const { panel, side: { explorer: { state } } } = this;
    panel.boxes.forEach(([left, top, right, bottom], n) => {
      if (!panel.own && state.cells.has(panel.cells[n])) frame(pen, left * scale + 1.5, top * scale + 1.5, (right - left) * scale - 3, (bottom - top) * scale - 3);
    });
    if (this.cursor !== null) {
      const [left, top, right, bottom] = panel.boxes[this.cursor].map((edge) => edge * scale);
      frame(pen, left, top, right - left, bottom - top, "#e69f00");
    }
    if (this.drag?.moved) {
      const { from, to } = this.drag;
      frame(pen, Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]), "#e69f00");
    }
  }

  // What the map says: the word, what was averaged, its share and its greatest patch.
  description() {
    const { panel, side } = this, { map, explorer: { state } } = side, quantity = side.quantity();
    if (!map) return `“${side.wordText()}”: ${quantity.name} was not computed for this word`;
    const values = panel.cells.map((cell) => map.values[cell]), where = quantity.given ? "" : `, ${side.explorer.chosenText(map.fallback ? null : state.head)}`;
    if (!map.values.some(Number.isFinite)) return `“${side.wordText()}”${where}: not defined`;
    let best = 0;
    values.forEach((value, n) => { if (!(value <= values[best])) best = Number.isFinite(value) ? n : best; });
    const everywhere = total(map.values), amount = quantity.id === "attention" ? `${numberText(100 * everywhere)} % of attention on the image` : `${numberText(everywhere, quantity.unit)} on the image`;
    return `“${side.wordText()}”${where}: ${amount}; maximum at ${placeText(panel, best)}: ${numberText(values[best])}`;
  }

  describe() {
    const { panel, side: { map } } = this, text = this.description();
    this.told.textContent = text;
    this.told.dataset.sum = map ? String(total(map.values)) : "NaN";
    this.note.textContent = [panel.note, map?.note].filter(Boolean).join("; ");
    this.canvas.setAttribute("aria-label", `image map of ${text}. Arrow keys move over the patches, Enter chooses one, Escape clears.`);
  }

  spot(event) {
    return [event.offsetX, event.offsetY];
  }

  patchAt([across, down]) {
    const { panel } = this, x = (across / this.canvas.clientWidth) * panel.size[0], y = (down / this.canvas.clientHeight) * panel.size[1];
    return panel.boxes.findIndex(([left, top, right, bottom]) => x >= left && x < right && y >= top && y < bottom);
  }

  begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.drag = { from: this.spot(event), to: this.spot(event), moved: false };
  }

  move(event) {
    if (this.drag) {
      this.drag.to = this.spot(event);
      this.drag.moved ||= Math.hypot(this.drag.to[0] - this.drag.from[0], this.drag.to[1] - this.drag.from[1]) > DRAG;
      if (this.drag.moved) this.draw();
      return;
    }
    const n = this.patchAt(this.spot(event));
    if (n >= 0) this.tell(n);
  }

  tell(n) {
    const { map } = this.side;
    if (map) this.told.textContent = `${placeText(this.panel, n)}: ${numberText(map.values[this.panel.cells[n]], this.side.quantity().unit)}`;
  }

  finish(event) {
    const { drag, panel } = this;
    this.drag = null;
    if (!drag || panel.own) return this.draw();
    if (!drag.moved) {
      const n = this.patchAt(this.spot(event));
      return n >= 0 ? this.toggle(n) : undefined;
    }
    const [wide, tall] = [panel.size[0] / this.canvas.clientWidth, panel.size[1] / this.canvas.clientHeight];
    const [x, y] = [0, 1].map((axis) => [drag.from[axis], drag.to[axis]].sort((a, b) => a - b).map((edge) => edge * (axis ? tall : wide)));
    const inside = panel.cells.filter((_, n) => {
      const [left, top, right, bottom] = panel.boxes[n], [middle, centre] = [(left + right) / 2, (top + bottom) / 2];
      return middle >= x[0] && middle <= x[1] && centre >= y[0] && centre <= y[1];
    });
    return this.side.explorer.chooseCells(new Set(inside));
  }

  toggle(n) {
    const { explorer } = this.side, cells = new Set(explorer.state.cells), cell = this.panel.cells[n];
    if (!cells.delete(cell)) cells.add(cell);
    explorer.chooseCells(cells);
  }

  keyed(event) {
    const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowRight: [1, 0], ArrowLeft: [-1, 0] }[event.key];
    if (step) {
      this.cursor = this.cursor === null ? 0 : this.neighbour(this.cursor, step);
      this.draw();
      this.tell(this.cursor);
    } else if ((event.key === "Enter" || event.key === " ") && this.cursor !== null && !this.panel.own) this.toggle(this.cursor);
    else if (event.key === "Escape") { this.cursor = null; this.side.explorer.chooseCells(new Set()); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  // The closest patch in a direction; the same one at an edge.
  neighbour(from, [across, down]) {
    const middle = ([left, top, right, bottom]) => [(left + right) / 2, (top + bottom) / 2], { boxes } = this.panel, [x, y] = middle(boxes[from]);
    let best = from, least = Infinity;
    boxes.forEach((box, n) => {
      const [a, b] = middle(box), ahead = (a - x) * across + (b - y) * down, aside = Math.abs((a - x) * down) + Math.abs((b - y) * across);
      if (ahead > 1e-6 && ahead + 4 * aside < least) { best = n; least = ahead + 4 * aside; }
    });
    return best;
  }

  figure() {
    const [width, height] = this.panel.size, shown = Math.min(720, Math.max(360, this.canvas.clientWidth)), scale = shown / width;
    return {
      name: `map-${this.side.wordText()}`, title: this.side.titled(this.description()), width: shown, height: height * scale,
      paint: (pen) => {
        if (this.panel.image) pen.drawImage(greyed(this.background, Math.min(1, 2 * this.side.explorer.state.opacity), shown, height * scale), 0, 0, shown, height * scale);
        if (this.side.map) this.paintBoxes(pen, scale);
        this.paintChoice(pen, scale);
      },
      scale: { ...this.scale(), text: this.scaleText() }, notes: [this.note.textContent],
    };
  }

  code() {
    return overlayCode(this.side);
  }
}
