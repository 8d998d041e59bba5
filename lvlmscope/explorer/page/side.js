// One trace: its words, maps and numbers. The state that both traces share belongs to the explorer.

import { Alternatives } from "./alternatives.js";
import { AnswerLinks } from "./answer_links.js";
import { fold, h } from "./elements.js";
import { HeadGrid } from "./head_grid.js";
import { ImageMap } from "./image_map.js";
import { LayerHeadMap } from "./layer_head_map.js";
import { LensTable } from "./lens_table.js";
import { floatsOf, numberText } from "./numbers.js";
import { PatchWords } from "./patch_words.js";
import { SignalLine } from "./signal_line.js";
import { SuspectedWords } from "./suspected_words.js";
import { WordTable } from "./word_table.js";
import { WordsView } from "./words_view.js";

// Whether two answers agree up to the end of a word.
export function sameUpTo(one, other, word) {
  const ends = [one, other].map((side) => side.words[word]?.end);
  return !ends.includes(undefined) && one.answer.slice(0, ends[0]) === other.answer.slice(0, ends[1]);
}

export class Side {
  constructor(explorer, number) {
    this.explorer = explorer;
    this.number = number;
    this.data = explorer.data.sides[number];
    this.word = this.firstWord();
    this.panel = 0;
    this.values = this.map = null;
    this.loaded = false; // what the choice needs is there
    this.element = this.build();
  }

  firstWord() {
    const { sides } = this.explorer.data, last = this.data.words.length - 1;
    let first = sides[0].words.findIndex((word) => word.kind === "hallucinated");
    if (first < 0 && sides.length > 1) first = sides[0].words.findIndex((word, n) => !sameUpTo(sides[0], sides[1], n));
    return Math.min(last, Math.max(0, first));
  }

  // The same parts in the same order whatever is missing, so that two sides stand row by row.
  build() {
    const { data } = this, has = data.words.length > 0 && data.cells > 0;
    this.words = new WordsView(this);
    this.suspected = new SuspectedWords(this);
    this.line = new SignalLine(this);
    this.line.element.hidden = data.words.length < 2;
    this.notes = h("div", {});
    this.imageMap = new ImageMap(this);
    this.heads = new LayerHeadMap(this);
    this.patchWords = new PatchWords(this);
    this.pair = h("div", { className: "pair", hidden: !has }, this.imageMap.element, this.heads.element);
    this.views = [this.words, this.suspected, ...(data.words.length ? [this.line] : []), ...(has ? [this.imageMap, this.heads, this.patchWords] : [])];
    this.folds = this.buildFolds(has);
    this.showNotes();
    return h("section", { className: "side", "aria-label": data.label || "answer" },
      h("h2", { hidden: !data.label }, data.label), this.notes, this.words.element, h("div", {}, this.words.shading, this.suspected.element), this.line.element, this.pair,
      this.patchWords.element, ...this.folds.map((each) => each.element));
  }

  buildFolds(has) {
    const open = window.innerWidth >= 640, made = [];
    const add = (role, title, view, { shown = true, open: now = false } = {}) => {
      const element = fold(role, title, { open: now, opened: () => this.explorer.update(() => {}) }, view.element);
      element.hidden = !shown;
      made.push({ view, element });
    };
    const worded = this.data.words.length > 0;
    add("alternatives-fold", "Alternatives to each token", new Alternatives(this), { shown: worded, open });
    add("grid-fold", "All heads of all layers", new HeadGrid(this), { shown: has });
    add("links-fold", "Attention on the answer's own words", new AnswerLinks(this), { shown: has });
    add("lens-fold", "Logit lens", new LensTable(this), { shown: worded && Boolean(this.data.lens) });
    add("table-fold", "All words and signals", new WordTable(this), { shown: worded });
    return made;
  }

  // Folds that are open and have something to show.
  opened() {
    const given = this.quantity()?.given;
    return this.folds.filter(({ view, element }) => element.open && !element.hidden && !(given && view.load)).map(({ view }) => view);
  }

  showNotes() {
    this.notes.replaceChildren(...this.data.notes.map((note) => h("p", { className: "note" }, note)));
    const lens = this.folds.find(({ view }) => view instanceof LensTable);
    lens.element.hidden = !this.data.words.length || !this.data.lens;
  }

  choose(number) {
    this.explorer.chooseWord(this.number, number);
  }

  wordText() {
    return this.data.words[this.word]?.text ?? "";
  }

  // A figure's title, with the answer that it is of where there are two.
  titled(text) {
    return this.data.label ? `${text}; ${this.data.label}` : text;
  }

  quantity() {
    return this.data.quantities.find((entry) => entry.id === this.explorer.state.quantity) || this.data.quantities[0];
  }

  panelShown() {
    const own = this.quantity().panels;
    if (!own) return this.data.panels[Math.min(this.panel, this.data.panels.length - 1)];
    const under = this.data.panels[own[0].image_panel];
    return { ...own[0], image: under?.image || "", note: under?.note || "", own: true };
  }

  signalValues() {
    const { signal } = this.explorer;
    return (signal.id === "@patches" ? this.patchWords.values : this.data.values[signal.id]) || this.data.words.map(() => null);
  }

  // A map that was computed before and given with the trace.
  givenMap({ data, rows, columns }) {
    const row = rows[this.word];
    if (row === undefined) return null;
    this.unpacked ??= new Map();
    if (!this.unpacked.has(data)) this.unpacked.set(data, floatsOf(data));
    return { values: this.unpacked.get(data).subarray(row * columns, (row + 1) * columns), note: "" };
  }

  // Everything that the present choice needs; what is returned puts it in place.
  async load() {
    const { state, source } = this.explorer, quantity = this.quantity(), { number, word } = this;
    if (word < 0 || !this.data.cells) return () => { this.loaded = true; };
    const own = quantity.given ? [null, this.givenMap(quantity)] : [source.heat(number, quantity.id, word), source.map(number, quantity.id, word, state.low, state.high, state.head)];
    const [[values, map], ...others] = await Promise.all([Promise.all(own), this.patchWords.load(), ...this.opened().filter((view) => view.load).map((view) => view.load())]);
    return () => {
      Object.assign(this, { values, map, loaded: true });
      others.forEach((put) => put());
    };
  }

  draw() {
    if (this.word < 0) return;
    this.pair.style.visibility = this.loaded ? "" : "hidden";
    if (!this.loaded) return this.words.draw();
    const { given } = this.quantity();
    this.heads.element.hidden = Boolean(given);
    for (const { view, element } of this.folds) if (view.load) element.classList.toggle("does-not-apply", Boolean(given));
    for (const view of [...this.views, ...this.opened()]) view.draw();
  }

  legend(element, scale, values, text) {
    const sample = h("i");
    sample.style.background = `linear-gradient(90deg, ${scale.stops.join(",")})`;
    element.replaceChildren(numberText(scale.low), sample, numberText(scale.high), h("span", {}, text));
    const missing = values.reduce((count, value) => count + !Number.isFinite(value), 0);
    if (missing) element.append(h("span", {}, `grey: not defined (${missing} of ${values.length})`));
  }
}
