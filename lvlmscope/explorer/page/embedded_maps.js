// Maps that are stored in the page, rounded: what a report has instead of a kernel.

import { Packed, combined } from "./numbers.js";

const ROUNDED = "rounded to 254 levels of its maximum";

export class EmbeddedMaps {
  constructor(maps, sides) {
    this.maps = maps;
    this.sides = sides;
    this.opened = new Map();
  }

  once(key, make) {
    if (!this.opened.has(key)) this.opened.set(key, make());
    return this.opened.get(key);
  }

  part(side, quantity, name) {
    return this.once(`${side} ${quantity} ${name}`, () => new Packed(this.maps[side][quantity][name]));
  }

  // Where a single head's map lies, by (word * layers + layer) * heads + head.
  slots(side, quantity) {
    return this.once(`${side} ${quantity} slots`, () => new Map(this.maps[side][quantity].kept.map((code, slot) => [code, slot])));
  }

  sizes(side) {
    return { layers: this.sides[side].layers.length, heads: this.sides[side].heads, words: this.sides[side].words.length };
  }

  over(side, quantity) {
    return this.sides[side].quantities.find((each) => each.id === quantity).over;
  }

  async heat(side, quantity, word) {
    return this.part(side, quantity, "heat").row(word);
  }

  // Rows of one head from `low` to `high`, undefined where one of them is not in the file.
  headRows(side, quantity, word, low, high, head) {
    const { layers, heads } = this.sizes(side), slots = this.slots(side, quantity), found = [];
    for (let layer = low; layer <= high; layer++) found.push(slots.get((word * layers + layer) * heads + head));
    return found.includes(undefined) ? undefined : found;
  }

  // Rows of layers joined in bands, with the number of chosen layers in each.
  bandRows(side, word, low, high, band) {
    const { layers } = this.sizes(side), bands = Math.ceil(layers / band), rows = [], weights = [];
    for (let each = Math.floor(low / band); each <= Math.floor(high / band); each++) {
      rows.push(word * bands + each);
      weights.push(Math.min(high, each * band + band - 1, layers - 1) - Math.max(low, each * band) + 1);
    }
    return { rows, weights };
  }

  notes(side, quantity, head) {
    const { layers, heads } = this.sizes(side), { band, per_word: kept } = this.maps[side][quantity], notes = [ROUNDED];
    if (band > 1) notes.push(`stored as means over ${band} neighbouring layers`);
    if (head !== null) notes.push(`this head's map is not in the file (it stores ${kept} of ${layers * heads} heads for each word): the mean over heads is shown`);
    return notes.join("; ");
  }

  async map(side, quantity, word, low, high, head) {
    const over = this.over(side, quantity), found = head === null ? undefined : this.headRows(side, quantity, word, low, high, head);
    if (found) {
      const single = this.part(side, quantity, "heads");
      return { values: combined(found.map((slot) => single.row(slot)), found.map(() => 1), over), note: ROUNDED };
    }
    const { rows, weights } = this.bandRows(side, word, low, high, this.maps[side][quantity].band);
    const packed = this.part(side, quantity, "layers");
    return { values: combined(rows.map((row) => packed.row(row)), weights, over), note: this.notes(side, quantity, head), fallback: head !== null };
  }

  // Every head's map of a word, by layer * heads + head.
  async grid(side, quantity, word) {
    const { layers, heads } = this.sizes(side), slots = this.slots(side, quantity), single = this.part(side, quantity, "heads"), rows = new Map();
    for (let place = 0; place < layers * heads; place++) {
      const slot = slots.get(word * layers * heads + place);
      if (slot !== undefined) rows.set(place, single.row(slot));
    }
    const missing = layers * heads - rows.size;
    return { rows, note: missing ? `${ROUNDED}; the file stores the ${rows.size} of ${layers * heads} heads with the most image attention, the others are hatched (lv.explore shows all)` : ROUNDED };
  }

  // What a word attends to in the words before it, and in itself: one value for each word.
  async links(side, quantity, word, low, high, head) {
    const { band } = this.maps[side][quantity].answer, { rows, weights } = this.bandRows(side, word, low, high, band);
    const packed = this.part(side, quantity, "answer"), notes = [ROUNDED];
    if (band > 1) notes.push(`stored as means over ${band} neighbouring layers`);
    if (head !== null) notes.push("single heads' values are not in the file: the mean over heads is shown");
    return { values: combined(rows.map((row) => packed.row(row)), weights, this.over(side, quantity)), note: notes.join("; ") };
  }

  // What every word attends to in some image tokens together.
  async looked(side, quantity, cells, low, high, head) {
    const { words } = this.sizes(side), over = this.over(side, quantity), every = Array.from({ length: words }, (_, word) => word);
    const slots = head === null ? [undefined] : every.map((word) => this.headRows(side, quantity, word, low, high, head));
    const single = !slots.includes(undefined), packed = this.part(side, quantity, single ? "heads" : "layers");
    const values = every.map((word) => {
      const { rows, weights } = single ? { rows: slots[word], weights: slots[word].map(() => 1) } : this.bandRows(side, word, low, high, this.maps[side][quantity].band);
      const found = combined(rows.map((row) => Float64Array.from(cells, (cell) => packed.at(row, cell))), weights, over);
      return found.reduce((sum, value) => sum + value, 0);
    });
    return { values, note: single && head !== null ? ROUNDED : this.notes(side, quantity, head) };
  }
}
