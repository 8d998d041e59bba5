// The explorer of a trace: words, image maps, layer x head values. One module for notebooks (anywidget) and reports.
// Every text goes in as a text node; nothing is ever parsed as markup, and nothing is fetched.

const TOP = { 8: 254, 16: 65534 };

function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const defined = (value) => value !== null && value !== undefined && Number.isFinite(value);

export function numberText(value, unit = "") {
  if (!defined(value)) return "not defined";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  return unit ? `${text} ${unit}` : text;
}

function bytes(text) {
  const raw = atob(text);
  const found = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) found[n] = raw.charCodeAt(n);
  return found;
}

class Packed {
  constructor(data) {
    this.columns = data.columns;
    this.top = TOP[data.bits];
    const raw = bytes(data.data);
    this.levels = data.bits === 8 ? raw : new Uint16Array(raw.buffer);
    this.scale = new Float32Array(bytes(data.scale).buffer);
  }
  row(number) {
    const found = new Float64Array(this.columns);
    for (let n = 0, at = number * this.columns; n < this.columns; n++, at++) {
      const level = this.levels[at];
      found[n] = level > this.top ? NaN : (level / this.top) * this.scale[number];
    }
    return found;
  }
}

// Mean over rows with weights; undefined values are left out, as in the Python code.
export function meanOf(rows, weights = rows.map(() => 1)) {
  const total = new Float64Array(rows[0].length), count = new Float64Array(rows[0].length);
  rows.forEach((row, n) => row.forEach((value, cell) => {
    if (!Number.isFinite(value)) return;
    total[cell] += value * weights[n];
    count[cell] += weights[n];
  }));
  return total.map((value, cell) => (count[cell] ? value / count[cell] : NaN));
}

// Maps stored in the page.
export class EmbeddedMaps {
  constructor(maps, sides) {
    this.maps = maps;
    this.sides = sides;
    this.opened = new Map();
  }
  part(side, quantity, name) {
    const key = `${side} ${quantity} ${name}`;
    if (!this.opened.has(key)) this.opened.set(key, new Packed(this.maps[side][quantity][name]));
    return this.opened.get(key);
  }
  slots(side, quantity) {
    const key = `${side} ${quantity} slots`;
    if (!this.opened.has(key))
      this.opened.set(key, new Map(this.maps[side][quantity].kept.map((code, slot) => [code, slot])));
    return this.opened.get(key);
  }
  async heat(side, quantity, word) {
    return this.part(side, quantity, "heat").row(word);
  }
  async map(side, quantity, word, low, high, head) {
    const { layers, heads } = { layers: this.sides[side].layers.length, heads: this.sides[side].heads };
    const rounded = "rounded to 254 levels of its maximum";
    if (head !== null) {
      const slots = this.slots(side, quantity), found = [];
      for (let layer = low; layer <= high; layer++) found.push(slots.get((word * layers + layer) * heads + head));
      if (found.every((slot) => slot !== undefined)) {
        const single = this.part(side, quantity, "heads");
        return { values: meanOf(found.map((slot) => single.row(slot))), note: rounded };
      }
    }
    const { band, per_word: kept } = this.maps[side][quantity], bands = Math.ceil(layers / band);
    const rows = [], weights = [], packed = this.part(side, quantity, "layers");
    for (let each = Math.floor(low / band); each <= Math.floor(high / band); each++) {
      rows.push(packed.row(word * bands + each));
      weights.push(Math.min(high, each * band + band - 1, layers - 1) - Math.max(low, each * band) + 1);
    }
    const notes = [rounded];
    if (band > 1) notes.push(`stored as means over ${band} neighbouring layers`);
    if (head !== null) notes.push(`this head's map is not in the file (it stores ${kept} of ${layers * heads} heads for each word): the mean over heads is shown`);
    return { values: meanOf(rows, weights), note: notes.join("; "), fallback: head !== null };
  }
}

// Maps that Python computes on request.
export class RequestedMaps {
  constructor(model) {
    this.model = model;
    this.waiting = new Map();
    this.known = new Map();
    this.next = 0;
    this.answer = (message, buffers) => {
      const entry = this.waiting.get(message.id);
      if (!entry) return;
      this.waiting.delete(message.id);
      if (message.error) return entry.reject(new Error(message.error));
      const view = buffers[0];
      entry.resolve(new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)));
    };
    model.on("msg:custom", this.answer);
  }
  request(content) {
    const key = JSON.stringify(content);
    if (!this.known.has(key)) {
      if (this.known.size > 400) this.known.clear();
      const promise = new Promise((resolve, reject) => {
        const id = this.next++;
        this.waiting.set(id, { resolve, reject });
        this.model.send({ ...content, id });
      });
      promise.catch(() => this.known.delete(key));
      this.known.set(key, promise);
    }
    return this.known.get(key);
  }
  heat(side, quantity, word) {
    return this.request({ kind: "heat", side, quantity, word });
  }
  async map(side, quantity, word, low, high, head) {
    return { values: await this.request({ kind: "map", side, quantity, word, low, high, head }), note: "" };
  }
  close() {
    this.model.off("msg:custom", this.answer);
  }
}

function colourOf(stops, share) {
  return stops[Math.round(Math.min(1, Math.max(0, share)) * (stops.length - 1))];
}

function greatest(values) {
  let most = 0;
  for (const value of values) if (Number.isFinite(value) && value > most) most = value;
  return most;
}

function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const pen = canvas.getContext("2d");
  pen.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}

function thinned(count, most) {
  let step = 1;
  for (const factor of [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]) {
    step = factor;
    if (Math.ceil(count / factor) <= most) break;
  }
  return Array.from({ length: Math.ceil(count / step) }, (_, n) => n * step);
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => h("option", { value: String(value), selected: value === chosen }, text)));
}

// Whether two answers agree up to the end of a word.
function sameUpTo(one, other, word) {
  const ends = [one, other].map((side) => side.words[word]?.end);
  return !ends.includes(undefined) && one.answer.slice(0, ends[0]) === other.answer.slice(0, ends[1]);
}

// One trace: its words, maps and numbers. The state that both traces share belongs to the explorer.
class Side {
  constructor(explorer, number) {
    this.explorer = explorer;
    this.number = number;
    this.data = explorer.data.sides[number];
    this.word = this.firstWord();
    this.panel = 0;
    this.cursor = null;
    this.element = this.build();
  }

  firstWord() {
    const { sides } = this.explorer.data, last = this.data.words.length - 1;
    let first = sides[0].words.findIndex((word) => word.kind === "hallucinated");
    if (first < 0 && sides.length > 1)
      first = sides[0].words.findIndex((word, n) => !sameUpTo(sides[0], sides[1], n));
    return Math.min(last, Math.max(0, first));
  }

  build() {
    const { data } = this;
    this.words = h("div", { className: "words", role: "group", "aria-label": `words of the answer${data.label ? `, ${data.label}` : ""}` });
    this.words.addEventListener("keydown", (event) => this.walk(event));
    this.buttons = [];
    let end = 0;
    data.words.forEach((word, number) => {
      this.words.append(number ? data.answer.slice(end, word.start) : data.answer.slice(0, word.start).trimStart());
      const mark = word.kind === "hallucinated" ? "is-wrong" : word.kind === "grounded" ? "is-true" : "";
      const button = h("button", { type: "button", className: mark, onclick: () => this.choose(number) }, data.answer.slice(word.start, word.end));
      this.buttons.push(button);
      this.words.append(button);
      end = word.end;
    });
    this.words.append(data.answer.slice(end));
    this.shading = h("p", { className: "faint" });
    this.line = h("canvas", { className: "line", role: "img", onclick: (event) => this.chooseOnLine(event) });
    this.background = h("img", { alt: "the traced image" });
    this.overlay = h("canvas", { role: "img" });
    this.overlay.addEventListener("pointermove", (event) => this.pointAtMap(event));
    this.overlay.addEventListener("pointerleave", () => this.describeMap());
    this.image = h("div", { className: "image" }, this.background, this.overlay);
    this.mapText = h("span", { "data-role": "map-text" });
    this.mapNote = h("span", { className: "faint", "data-role": "map-note" });
    this.mapLegend = h("div", { className: "legend" });
    this.panels = h("select", { "aria-label": "image, overview or tiles", onchange: () => this.explorer.update(() => { this.panel = Number(this.panels.value); }) });
    options(this.panels, data.panels.map((entry, n) => [n, entry.name]), 0);
    this.panels.hidden = data.panels.length < 2;
    this.heat = h("canvas", { className: "heat", tabIndex: 0, role: "img" });
    this.heat.addEventListener("keydown", (event) => this.moveOnHeat(event));
    this.heat.addEventListener("click", (event) => this.chooseOnHeat(event));
    this.heat.addEventListener("pointermove", (event) => { this.cursor = this.cellAt(event); this.describeHeat(); });
    this.heat.addEventListener("pointerleave", () => { this.cursor = null; this.describeHeat(); });
    this.heat.addEventListener("blur", () => { this.cursor = null; this.drawHeat(); });
    this.heatText = h("span", { "aria-live": "polite", "data-role": "heat-text" });
    this.heatLegend = h("div", { className: "legend" });
    this.mapFigure = h("figure", {}, this.panels, this.image, this.mapLegend, h("figcaption", { "aria-live": "polite" }, this.mapText, " ", this.mapNote));
    this.heatFigure = h("figure", {}, this.heat, this.heatLegend, h("figcaption", {}, this.heatText));
    this.numbers = h("table", { "data-role": "numbers" });
    this.alternatives = h("table", { "data-role": "alternatives" });
    this.error = h("p", { className: "note", role: "alert", hidden: true });
    const has = data.words.length > 0 && data.cells > 0;
    return h("section", { className: "side", "aria-label": data.label || "answer" },
      data.label ? h("h2", {}, data.label) : null,
      ...data.notes.map((note) => h("p", { className: "note" }, note)),
      this.words, data.words.length ? this.shading : null, data.words.length > 1 ? this.line : null, this.error,
      has ? h("div", { className: "pair" }, this.mapFigure, this.heatFigure) : null,
      data.words.length ? h("div", { className: "pair tables" },
        h("div", {}, h("h3", {}, "Signals at this word"), this.numbers),
        h("div", {}, h("h3", {}, "Alternatives to each token"), this.alternatives)) : null);
  }

  choose(number, { focus = false } = {}) {
    this.explorer.chooseWord(this.number, number);
    if (focus) this.buttons[number].focus();
  }

  walk(event) {
    const last = this.buttons.length - 1;
    const goal = { ArrowRight: this.word + 1, ArrowDown: this.word + 1, ArrowLeft: this.word - 1, ArrowUp: this.word - 1, Home: 0, End: last }[event.key];
    if (goal === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.choose(Math.min(last, Math.max(0, goal)), { focus: true });
  }

  async load() {
    const { state, source } = this.explorer;
    this.values = this.map = null;
    if (this.word < 0 || !this.data.cells) return;
    const at = [this.number, this.quantity().id, this.word];
    const [values, map] = await Promise.all([source.heat(...at), source.map(...at, state.low, state.high, state.head)]);
    return { values, map };
  }

  quantity() {
    return this.data.quantities.find((entry) => entry.id === this.explorer.state.quantity) || this.data.quantities[0];
  }

  draw() {
    this.drawWords();
    if (this.word < 0) return;
    this.drawLine();
    this.drawNumbers();
    if (!this.values) return;
    this.drawMap();
    this.drawHeat();
    this.describeHeat();
    this.describeMap();
  }

  drawWords() {
    const { signal } = this.explorer;
    const values = this.data.values[signal.id] || [], shown = values.filter(defined);
    const low = Math.min(...shown), high = Math.max(...shown);
    this.buttons.forEach((button, number) => {
      const value = values[number], word = this.data.words[number];
      const share = defined(value) && high > low ? (value - low) / (high - low) : 0;
      button.style.setProperty("--shade", share.toFixed(3));
      button.setAttribute("aria-pressed", String(number === this.word));
      button.tabIndex = number === this.word ? 0 : -1;
      button.title = `${signal.name}: ${numberText(value, signal.unit)}${word.kind ? `; ${word.kind}` : ""}`;
    });
    this.shading.textContent = shown.length ? `words shaded by ${signal.name}, from ${numberText(low)} to ${numberText(high, signal.unit)}` : `${signal.name} is not defined for any word`;
    const missing = values.length - shown.length;
    if (shown.length && missing) this.shading.textContent += ` (not defined for ${missing} of ${values.length} words)`;
  }

  drawLine() {
    const { signal, range } = this.explorer;
    const values = this.data.values[signal.id] || [], width = this.line.clientWidth || 320, height = 92;
    const colours = this.explorer.palette(), pen = sized(this.line, width, height), [low, high] = range;
    const x = (n) => 8 + (values.length > 1 ? (n / (values.length - 1)) * (width - 16) : (width - 16) / 2);
    const y = (value) => 18 + (1 - (value - low) / (high - low || 1)) * (height - 28);
    this.lineX = x;
    pen.strokeStyle = colours.line;
    pen.beginPath(); pen.moveTo(0, y(low)); pen.lineTo(width, y(low)); pen.stroke();
    pen.fillStyle = pen.strokeStyle = colours.ink;
    pen.fillRect(x(this.word) - 0.5, 14, 1, height - 14);
    pen.strokeStyle = pen.fillStyle = colours.accent;
    pen.lineWidth = 1.5;
    pen.beginPath();
    let broken = true;
    values.forEach((value, n) => {
      if (!defined(value)) { broken = true; return; }
      if (broken) pen.moveTo(x(n), y(value)); else pen.lineTo(x(n), y(value));
      broken = false;
    });
    pen.stroke();
    values.forEach((value, n) => {
      const { kind } = this.data.words[n];
      if (!defined(value) || (values.length > 150 && !kind && n !== this.word)) return;
      pen.fillStyle = kind === "hallucinated" ? colours.wrong : kind === "grounded" ? colours.good : colours.accent;
      const size = n === this.word ? 5 : kind ? 4 : 2.5;
      pen.beginPath();
      if (kind === "hallucinated") pen.rect(x(n) - size, y(value) - size, 2 * size, 2 * size); else pen.arc(x(n), y(value), size, 0, 7);
      pen.fill();
    });
    pen.fillStyle = colours.faint;
    pen.font = "12px system-ui, sans-serif";
    pen.fillText(`${signal.name} (${signal.unit}), ${numberText(low)} to ${numberText(high)}, word by word`, 4, 11, width - 8);
    this.line.setAttribute("aria-label", `${signal.name} over ${values.length} words; at the selected word ${numberText(values[this.word], signal.unit)}`);
  }

  drawNumbers() {
    const { explorer } = this, word = this.data.words[this.word];
    this.numbers.replaceChildren(h("tbody", {}, ...explorer.data.signals.filter((entry) => this.data.values[entry.id]).flatMap((entry) => {
      const value = this.data.values[entry.id][this.word];
      return [
        h("tr", {}, h("th", { scope: "row" }, entry.name),
          h("td", { className: "number", "data-signal": entry.id, "data-value": String(value) }, numberText(value, defined(value) ? entry.unit : ""))),
        h("tr", { className: "meaning" }, h("td", { className: "faint", colSpan: 2 }, entry.meaning)),
      ];
    })));
    const rows = word.tokens.flatMap((token) => [
      h("tr", {}, h("th", { scope: "row", colSpan: 3 }, "token ", h("code", {}, token.text || "(nothing visible)"), `, probability ${numberText(token.p)}`)),
      ...token.others.filter((entry) => !entry[2]).map(([text, p]) => h("tr", {}, h("td", {}, h("code", {}, text || "(nothing visible)")),
        h("td", { className: "number" }, numberText(p)), h("td", {}, h("span", { className: "chance", "aria-hidden": "true" }, bar(p))))),
    ]);
    this.alternatives.replaceChildren(h("tbody", {}, ...rows));
  }

  panelShown() {
    return this.data.panels[Math.min(this.panel, this.data.panels.length - 1)];
  }

  drawMap() {
    const panel = this.panelShown(), { state, data } = this.explorer, [width, height] = panel.size;
    this.image.style.aspectRatio = `${width} / ${height}`;
    this.background.hidden = !panel.image;
    if (panel.image && this.background.src !== panel.image) this.background.src = panel.image;
    const shown = this.overlay.clientWidth || 300, pen = sized(this.overlay, shown, (shown * height) / width), scale = shown / width;
    const high = this.explorer.mapHigh || 1;
    this.background.style.filter = `grayscale(${Math.min(1, 2 * state.opacity)})`;
    pen.globalAlpha = panel.image ? state.opacity : 1;
    panel.boxes.forEach(([left, top, right, bottom], n) => {
      const value = this.map.values[panel.cells[n]];
      pen.fillStyle = Number.isFinite(value) ? colourOf(data.colours.map, value / high) : data.colours.undefined;
      const x = Math.round(left * scale), y = Math.round(top * scale);
      pen.fillRect(x, y, Math.round(right * scale) - x, Math.round(bottom * scale) - y);
    });
    this.legend(this.mapLegend, high, `${this.quantity().name} per image token, ${this.quantity().unit}`, this.map.values);
  }

  legend(element, high, text, values) {
    const { colours } = this.explorer.data, sample = h("i");
    sample.style.background = `linear-gradient(90deg, ${colours.map.join(",")})`;
    element.replaceChildren("0", sample, numberText(high), h("span", {}, text));
    const missing = values.reduce((count, value) => count + !Number.isFinite(value), 0);
    if (missing) element.append(h("span", {}, `grey: not defined (${missing} of ${values.length})`));
  }

  describeMap() {
    const { state } = this.explorer, panel = this.panelShown(), values = panel.cells.map((cell) => this.map.values[cell]), quantity = this.quantity();
    const everywhere = this.map.values.reduce((sum, value) => sum + (Number.isFinite(value) ? value : 0), 0);
    const none = !this.map.values.some(Number.isFinite);
    let best = 0;
    values.forEach((value, n) => { if (!(value <= values[best])) best = Number.isFinite(value) ? n : best; });
    const where = this.explorer.chosenText(this.map.fallback ? null : state.head);
    const text = none ? `“${this.data.words[this.word].text}”, ${where}: not defined` :
      `“${this.data.words[this.word].text}”, ${where}: ${quantity.id === "attention" ? `${numberText(100 * everywhere)} % of attention on the image` : `${numberText(everywhere, quantity.unit)} on the image`}; maximum at ${positionText(panel, best)}: ${numberText(values[best])}`;
    this.mapText.textContent = text;
    this.mapText.dataset.sum = String(everywhere);
    this.mapNote.textContent = [panel.note, this.map.note].filter(Boolean).join("; ");
    this.overlay.setAttribute("aria-label", `image map of ${text}`);
  }

  pointAtMap(event) {
    if (!this.map) return;
    const panel = this.panelShown(), x = (event.offsetX / this.overlay.clientWidth) * panel.size[0], y = (event.offsetY / this.overlay.clientHeight) * panel.size[1];
    const n = panel.boxes.findIndex(([left, top, right, bottom]) => x >= left && x < right && y >= top && y < bottom);
    if (n >= 0) this.mapText.textContent = `${positionText(panel, n)}: ${numberText(this.map.values[panel.cells[n]], this.quantity().unit)}`;
  }

  heatBox() {
    const width = this.heat.clientWidth || 320, layers = this.data.layers.length, heads = this.data.heads;
    const across = (width - 44) / heads, tall = Math.min(24, Math.max(5, Math.min(across, 420 / layers), 60 / layers));
    return { width, height: Math.ceil(tall * layers + 40), left: 40, top: 4, across, tall, layers, heads };
  }

  drawHeat() {
    if (!this.values) return;
    const box = this.heatBox(), { data, state } = this.explorer, colours = this.explorer.palette();
    this.heat.style.height = `${box.height}px`;
    const pen = sized(this.heat, box.width, box.height), high = this.explorer.heatHigh || 1;
    const x = (head) => Math.round(box.left + head * box.across), y = (layer) => Math.round(box.top + (box.layers - 1 - layer) * box.tall);
    for (let layer = 0; layer < box.layers; layer++) for (let head = 0; head < box.heads; head++) {
      const value = this.values[layer * box.heads + head];
      pen.fillStyle = Number.isFinite(value) ? colourOf(data.colours.map, value / high) : data.colours.undefined;
      pen.fillRect(x(head), y(layer), x(head + 1) - x(head), y(layer - 1) - y(layer));
    }
    pen.fillStyle = colours.faint;
    pen.font = "12px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const layer of thinned(box.layers, Math.floor((box.tall * box.layers) / 16) || 1)) pen.fillText(String(this.data.layers[layer]), box.left - 4, y(layer) + box.tall / 2);
    pen.textAlign = "center";
    const under = box.top + box.tall * box.layers;
    for (const head of thinned(box.heads, Math.floor((box.across * box.heads) / 26) || 1)) pen.fillText(String(head), x(head) + box.across / 2, under + 10);
    pen.fillText("query head", box.left + (box.across * box.heads) / 2, under + 26);
    pen.save(); pen.translate(9, box.top + (box.tall * box.layers) / 2); pen.rotate(-Math.PI / 2);
    pen.fillText("layer", 0, 0); pen.restore();
    const frame = (left, top, width, height, inner, outer) => {
      pen.lineWidth = 4; pen.strokeStyle = outer; pen.strokeRect(left, top, width, height);
      pen.lineWidth = 2; pen.strokeStyle = inner; pen.strokeRect(left, top, width, height);
    };
    const all = state.low === 0 && state.high === box.layers - 1 && state.head === null;
    if (!all) {
      const first = state.head === null ? 0 : state.head, last = state.head === null ? box.heads : state.head + 1;
      frame(x(first), y(state.high), x(last) - x(first), y(state.low - 1) - y(state.high), "#fff", "#000");
    }
    if (this.cursor) frame(x(this.cursor[1]), y(this.cursor[0]), box.across, box.tall, "#e69f00", "#000");
    this.legend(this.heatLegend, high, `${this.quantity().name}, ${this.quantity().unit}; layer 0 at the bottom`, this.values);
  }

  describeHeat() {
    if (!this.values) return;
    const box = this.heatBox(), { state } = this.explorer;
    let spot = this.cursor;
    if (!spot && state.head !== null && state.low === state.high) spot = [state.low, state.head];
    let text;
    if (spot) text = `layer ${this.data.layers[spot[0]]}, head ${spot[1]}: ${numberText(this.values[spot[0] * box.heads + spot[1]], this.quantity().unit)}`;
    else {
      let best = 0;
      this.values.forEach((value, n) => { if (Number.isFinite(value) && !(value <= this.values[best])) best = n; });
      text = `highest: layer ${this.data.layers[Math.floor(best / box.heads)]}, head ${best % box.heads} (${numberText(this.values[best])}). Select a cell to show its map.`;
    }
    this.heatText.textContent = text;
    this.heat.setAttribute("aria-label", `values of the word by layer and head. ${text} Arrow keys move, Enter selects, Escape resets.`);
  }

  cellAt(event) {
    const box = this.heatBox(), head = Math.floor((event.offsetX - box.left) / box.across);
    const layer = box.layers - 1 - Math.floor((event.offsetY - box.top) / box.tall);
    return head >= 0 && head < box.heads && layer >= 0 && layer < box.layers ? [layer, head] : null;
  }

  chooseOnHeat(event) {
    const cell = this.cellAt(event);
    if (cell) this.explorer.chooseCell(...cell);
  }

  moveOnHeat(event) {
    const step = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
    const box = this.heatBox(), { state } = this.explorer;
    if (step) {
      const [layer, head] = this.cursor || [state.low === state.high ? state.low : 0, state.head ?? 0];
      const at = this.cursor ? [layer + step[0], head + step[1]] : [layer, head];
      this.cursor = [Math.min(box.layers - 1, Math.max(0, at[0])), Math.min(box.heads - 1, Math.max(0, at[1]))];
      this.drawHeat();
      this.describeHeat();
    } else if ((event.key === "Enter" || event.key === " ") && this.cursor) this.explorer.chooseCell(...this.cursor);
    else if (event.key === "Escape") { this.cursor = null; this.explorer.reset(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  chooseOnLine(event) {
    const count = this.data.words.length;
    let best = 0;
    for (let n = 1; n < count; n++) if (Math.abs(this.lineX(n) - event.offsetX) < Math.abs(this.lineX(best) - event.offsetX)) best = n;
    this.choose(best);
  }
}

function block(part) {
  const row = (tag, cells) => h("tr", {}, ...cells.map((cell) => h(tag, tag === "th" ? { scope: "col" } : {}, cell)));
  const table = part.rows.length ? h("div", { className: "wide" }, h("table", {}, h("thead", {}, row("th", part.header)), h("tbody", {}, ...part.rows.map((cells) => row("td", cells))))) : null;
  return [h("h3", {}, part.title), h("p", {}, part.note), ...(table ? [table] : [])];
}

function bar(share) {
  const inner = h("i");
  inner.style.width = `${100 * Math.min(1, share || 0)}%`;
  return inner;
}

function positionText(panel, n) {
  const [left, top, right, bottom] = panel.boxes[n];
  return `x ${Math.round((left + right) / 2)}, y ${Math.round((top + bottom) / 2)}`;
}

export class Explorer {
  constructor(root, data, source) {
    Object.assign(this, { root, data, source, turn: 0 });
    const layers = data.sides[0].layers.length;
    const first = data.signals.find((entry) => entry.id === "image_attention_focus") || data.signals[0];
    this.state = { signal: first.id, quantity: data.sides[0].quantities[0].id, low: 0, high: layers - 1, head: null, opacity: 0.62, shown: data.sides.length > 1 ? "both" : "0" };
    this.sides = data.sides.map((_, number) => new Side(this, number));
    root.classList.add("lvx");
    root.replaceChildren(this.build());
    this.setTheme();
    this.watcher = new MutationObserver(() => { this.setTheme(); this.redraw(); });
    for (const target of [document.body, document.documentElement])
      this.watcher.observe(target, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-vscode-theme-kind", "theme", "class"] });
    this.scheme = window.matchMedia("(prefers-color-scheme: dark)");
    this.onScheme = () => this.redraw();
    this.scheme.addEventListener("change", this.onScheme);
    this.resizer = new ResizeObserver(() => this.redraw());
    this.resizer.observe(root);
    this.update(() => {});
  }

  // Jupyter, VS Code and Colab set their theme on the page; elsewhere the system's choice holds.
  setTheme() {
    const { body, documentElement } = document, code = body.dataset.vscodeThemeKind || "";
    let theme = "";
    if (body.dataset.jpThemeLight) theme = body.dataset.jpThemeLight === "false" ? "dark" : "light";
    else if (code) theme = code.includes("light") ? "light" : "dark";
    else if (documentElement.getAttribute("theme")) theme = documentElement.getAttribute("theme") === "dark" ? "dark" : "light";
    if (theme) this.root.dataset.theme = theme; else delete this.root.dataset.theme;
  }

  get signal() {
    return this.data.signals.find((entry) => entry.id === this.state.signal);
  }

  // A canvas has no light-dark(): the colours are read from elements that have it.
  palette() {
    const probe = h("span", { hidden: true });
    this.root.append(probe);
    const found = {};
    for (const [name, variable] of Object.entries({ ink: "ink", faint: "faint", line: "line", accent: "accent", good: "true", wrong: "wrong" })) {
      probe.style.color = `var(--${variable})`;
      found[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    return found;
  }

  chosenText(head) {
    const { low, high } = this.state, numbers = this.data.sides[0].layers;
    const layers = low === 0 && high === numbers.length - 1 ? "all layers" : low === high ? `layer ${numbers[low]}` : `layers ${numbers[low]} to ${numbers[high]}`;
    return `${layers}, ${head === null ? "all heads" : `head ${head}`}`;
  }

  build() {
    const { data, state } = this, side = data.sides[0], numbers = side.layers.map((number, n) => [n, String(number)]);
    const choose = (name, read) => (event) => this.update(() => { state[name] = read(event.target.value); });
    this.signals = h("select", { "data-role": "signal", onchange: choose("signal", String) });
    options(this.signals, data.signals.map((entry) => [entry.id, entry.name]), state.signal);
    this.quantities = h("select", { "data-role": "quantity", onchange: choose("quantity", String) });
    options(this.quantities, side.quantities.map((entry) => [entry.id, entry.id]), state.quantity);
    this.low = h("select", { "data-role": "low", "aria-label": "first layer", onchange: choose("low", Number) });
    this.high = h("select", { "data-role": "high", "aria-label": "last layer", onchange: choose("high", Number) });
    options(this.low, numbers, state.low);
    options(this.high, numbers, state.high);
    this.low.addEventListener("change", () => this.update(() => { state.high = Math.max(state.low, state.high); }));
    this.high.addEventListener("change", () => this.update(() => { state.low = Math.min(state.low, state.high); }));
    this.heads = h("select", { "data-role": "head", onchange: choose("head", (value) => (value === "all" ? null : Number(value))) });
    options(this.heads, [["all", "all"], ...Array.from({ length: side.heads }, (_, n) => [n, String(n)])], "all");
    this.opacity = h("input", { type: "range", min: 0, max: 1, step: 0.02, value: state.opacity, "data-role": "opacity", oninput: () => { state.opacity = Number(this.opacity.value); this.redraw(); } });
    this.shown = h("select", { "data-role": "shown", onchange: choose("shown", String) });
    options(this.shown, [...data.sides.map((entry, n) => [String(n), entry.label]), ["both", "side by side"]], state.shown);
    const tools = h("div", { className: "tools", role: "group", "aria-label": "display options" },
      data.sides.length > 1 ? h("label", {}, "answer", this.shown) : null,
      h("label", {}, "signal", this.signals),
      side.quantities.length > 1 ? h("label", {}, "map", this.quantities) : null,
      h("label", {}, "layers", h("span", { className: "range" }, this.low, "to", this.high)),
      h("label", {}, "head", this.heads), h("label", {}, "map opacity", this.opacity),
      h("button", { type: "button", "data-role": "reset", onclick: () => this.reset() }, "reset layers and head"));
    this.trouble = h("p", { className: "note", role: "alert", hidden: true });
    this.row = h("div", { className: "sides" }, ...this.sides.map((each) => each.element));
    const kinds = data.sides.some((each) => each.words.some((word) => word.kind));
    return h("div", {}, h("p", { className: "prompt" }, data.prompt),
      data.promptText === data.prompt ? null
        : h("details", { className: "faint" }, h("summary", {}, "the text that the model saw"), h("p", { className: "prompt", "data-role": "prompt-text" }, data.promptText)),
      tools, this.trouble,
      kinds ? h("p", { className: "faint" }, "marked words: ", h("span", { className: "is-true" }, "grounded"), ", ", h("span", { className: "is-wrong" }, "hallucinated")) : null,
      this.row, ...this.parts());
  }

  parts() {
    const { data } = this, found = [];
    const intervened = data.sides.some((side) => side.label === "with the intervention");
    if (data.effect.length) found.push(h("h2", {}, intervened ? "Effect of the intervention" : "Difference between the answers"), ...data.effect.map((line) => h("p", {}, line)));
    data.sides.forEach((side, number) => {
      if (side.diagnosis.length) found.push(h("details", { open: number === 0, "data-role": "diagnosis" },
        h("summary", {}, `Diagnosis${side.label ? `, ${side.label}` : ""}`), ...side.diagnosis.flatMap(block)));
    });
    for (const side of data.sides) found.push(h("details", {}, h("summary", {}, `Provenance${side.label ? `, ${side.label}` : ""}`),
      h("table", {}, h("tbody", {}, ...side.facts.map(([name, text]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, text)))))));
    return found;
  }

  // The same word of the other answer is selected too, as long as the answers agree up to it.
  chooseWord(number, word) {
    this.update(() => {
      const chosen = this.sides[number].data;
      for (const side of this.sides) {
        if (side.number === number || sameUpTo(side.data, chosen, word)) side.word = word;
      }
    });
  }

  chooseCell(layer, head) {
    const { state } = this, same = state.low === layer && state.high === layer && state.head === head;
    if (same) this.reset();
    else this.update(() => Object.assign(state, { low: layer, high: layer, head }));
  }

  reset() {
    this.update(() => Object.assign(this.state, { low: 0, high: this.data.sides[0].layers.length - 1, head: null }));
  }

  async update(change) {
    change();
    const { state } = this, turn = ++this.turn;
    this.root.dataset.busy = "true";
    this.low.value = String(state.low);
    this.high.value = String(state.high);
    this.heads.value = state.head === null ? "all" : String(state.head);
    const shown = this.sides.filter((side) => state.shown === "both" || state.shown === String(side.number));
    for (const side of this.sides) side.element.hidden = !shown.includes(side);
    try {
      const loaded = await Promise.all(shown.map((side) => side.load()));
      if (turn !== this.turn) return; // a newer choice is on its way
      shown.forEach((side, n) => Object.assign(side, loaded[n] || { values: null, map: null }));
      this.trouble.hidden = true;
    } catch (error) {
      if (turn !== this.turn) return;
      this.trouble.textContent = `The map could not be loaded: ${error.message}`;
      this.trouble.hidden = false;
    }
    this.redraw();
    this.root.dataset.busy = "false";
  }

  redraw() {
    const shown = this.sides.filter((side) => !side.element.hidden);
    const loaded = shown.filter((side) => side.values && side.map);
    this.mapHigh = greatest(loaded.flatMap((side) => side.panelShown().cells.map((cell) => side.map.values[cell])));
    this.heatHigh = greatest(loaded.flatMap((side) => Array.from(side.values)));
    const line = shown.flatMap((side) => side.data.values[this.state.signal] || []).filter(defined);
    const [least, most] = [Math.min(...line), Math.max(...line)];
    this.range = line.length ? [least >= 0 ? 0 : least, most <= 0 ? 0 : most] : [0, 1];
    for (const side of shown) side.draw();
  }

  destroy() {
    this.watcher.disconnect();
    this.resizer.disconnect();
    this.scheme.removeEventListener("change", this.onScheme);
    this.source.close?.();
  }
}

// A report: its data is in the page.
export function start(page) {
  const data = JSON.parse(page.getElementById("data").textContent);
  return new Explorer(page.getElementById("explorer"), data, new EmbeddedMaps(data.maps, data.sides));
}

// A notebook: anywidget calls this.
export default {
  render({ model, el }) {
    const root = h("div");
    el.append(root);
    const explorer = new Explorer(root, model.get("document"), new RequestedMaps(model));
    return () => explorer.destroy();
  },
};
