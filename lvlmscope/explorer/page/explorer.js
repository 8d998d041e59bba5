// The explorer of one trace or of two: its state, and which view is drawn when.

import { asked, written } from "./address.js";
import { fold, h } from "./elements.js";
import { LaterParts } from "./later_parts.js";
import { defined, greatest } from "./numbers.js";
import { diagnosisOf, effectOf, marksOf, promptOf, provenanceOf } from "./page_parts.js";
import { sameUpTo, Side } from "./side.js";
import { SignalTable } from "./signal_table.js";
import { Toolbar } from "./toolbar.js";

const USUAL = "image_attention_focus", NARROW = 640; // the signal that is shown first; pixels
const COLOURS = { ink: "ink", faint: "faint", line: "line", accent: "accent", good: "true", wrong: "wrong", paper: "paper" };

const openFolds = (root) => new Map([...root.querySelectorAll("details[data-role]")].map((each) => [each.dataset.role, each.open]));

export class Explorer {
  // `addressed`: whether the state is kept in the page's address, as in a report. `panel`: interventions to try.
  // `from`: the explorer whose place this one takes, with what is chosen in it.
  constructor(root, data, source, { addressed = false, panel = null, from = null } = {}) {
    Object.assign(this, { root, data, source, addressed, panel, turn: 0, signalChosen: false, narrow: window.innerWidth < NARROW });
    const layers = data.sides[0].layers.length, first = data.signals.find((entry) => entry.id === USUAL) || data.signals[0];
    const shown = data.sides.length < 2 || this.narrow ? "0" : "both";
    this.state = { signal: first.id, quantity: data.sides[0].quantities[0].id, low: 0, high: layers - 1, head: null, opacity: 0.62, shown, cells: new Set() };
    if (from) this.keepState(from);
    this.sides = data.sides.map((_, number) => new Side(this, number));
    const unfolded = from ? openFolds(root) : null;
    root.classList.add("lvx");
    root.replaceChildren(this.build());
    if (from) this.keepWords(from, unfolded);
    this.setTheme();
    this.watch();
    if (addressed) this.follow(window.location.hash);
    this.update(() => {}).then(() => this.later.load());
  }

  keepState(from) {
    this.signalChosen = from.signalChosen;
    Object.assign(this.state, from.state, { shown: this.data.sides.length < 2 ? "0" : this.narrow ? "1" : "both" });
  }

  keepWords(from, unfolded) {
    const [first] = from.sides;
    for (const side of this.sides) {
      if (!side.number || sameUpTo(side.data, first.data, first.word)) side.word = first.word;
      side.panel = first.panel;
    }
    for (const each of this.root.querySelectorAll("details[data-role]")) if (unfolded.has(each.dataset.role)) each.open = unfolded.get(each.dataset.role);
  }

  watch() {
    this.watcher = new MutationObserver(() => { this.setTheme(); this.redraw(); });
    for (const target of [document.body, document.documentElement])
      this.watcher.observe(target, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-vscode-theme-kind", "theme", "class"] });
    this.queries = ["(prefers-color-scheme: dark)", "print"].map((query) => window.matchMedia(query));
    this.onQuery = () => this.redraw();
    for (const query of this.queries) query.addEventListener("change", this.onQuery);
    this.resizer = new ResizeObserver(() => this.redraw());
    this.resizer.observe(this.root);
    this.onHash = () => this.update(() => this.follow(window.location.hash));
    if (this.addressed) window.addEventListener("hashchange", this.onHash);
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
    if (this.state.cells.size && this.sides.some((side) => side.patchWords.values))
      return { id: "@patches", name: `${this.sides[0].quantity().label} on the selected patches`, unit: this.sides[0].quantity().unit };
    return this.data.signals.find((entry) => entry.id === this.state.signal);
  }

  // A canvas has no light-dark(): the colours are read from elements that have it. Paper and saved figures are light.
  palette({ light = false } = {}) {
    const probe = h("span", { hidden: true }), found = {};
    if (light || window.matchMedia("print").matches) probe.style.colorScheme = "light";
    this.root.append(probe);
    for (const [name, variable] of Object.entries(COLOURS)) {
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
    const { data } = this;
    this.toolbar = new Toolbar(this);
    this.later = new LaterParts(this);
    this.table = new SignalTable(this);
    this.trouble = h("p", { className: "note", role: "alert", hidden: true });
    this.row = h("div", { className: "sides" }, ...this.sides.map((each) => each.element));
    this.diagnoses = h("div", {});
    const worded = data.sides.some((side) => side.words.length);
    const signals = fold("signals-fold", "Signals at the selected word", { open: !this.narrow }, this.table.element);
    signals.hidden = !worded;
    this.showDiagnoses();
    return h("div", {}, promptOf(data), this.panel?.element, effectOf(data), this.toolbar.element, this.later.element, this.trouble, marksOf(data), this.row, signals, this.diagnoses, ...data.sides.map(provenanceOf));
  }

  showDiagnoses() {
    this.diagnoses.replaceChildren(...this.data.sides.map((side, n) => diagnosisOf(side, { open: n === 0 && !this.narrow, choose: (word) => this.sides[n].choose(word), live: Boolean(this.panel) })).filter(Boolean));
    this.panel?.propose(this.data.sides[0].proposals || []);
  }

  // A signal, a diagnosis or a lens has arrived.
  partsChanged() {
    if (!this.signalChosen && this.data.signals.some(({ id }) => id === USUAL)) this.state.signal = USUAL;
    this.toolbar.listSignals();
    for (const side of this.sides) side.showNotes();
    this.showDiagnoses();
    this.redraw();
  }

  // Choices that an address asks for.
  follow(hash) {
    const { word, ...state } = asked(hash, this.data);
    if (state.signal) this.signalChosen = true;
    Object.assign(this.state, state);
    if (word !== undefined) for (const side of this.sides) if (!side.number || sameUpTo(side.data, this.data.sides[0], word)) side.word = word;
  }

  // The same word of the other answer is selected too, as long as the answers agree up to it.
  chooseWord(number, word) {
    this.update(() => {
      const chosen = this.sides[number].data;
      for (const side of this.sides) if (side.number === number || sameUpTo(side.data, chosen, word)) side.word = word;
    });
  }

  chooseSignal(signal) {
    this.signalChosen = true;
    this.update(() => Object.assign(this.state, { signal, cells: new Set() }));
  }

  chooseCells(cells) {
    this.update(() => { this.state.cells = cells; });
  }

  chooseLayers(low, high) {
    this.update(() => Object.assign(this.state, { low, high }));
  }

  chooseCell(layer, head) {
    const { state } = this, same = state.low === layer && state.high === layer && state.head === head;
    if (same) this.reset();
    else this.update(() => Object.assign(state, { low: layer, high: layer, head }));
  }

  reset() {
    this.toolbar.stop();
    this.update(() => Object.assign(this.state, { low: 0, high: this.data.sides[0].layers.length - 1, head: null }));
  }

  async update(change) {
    change();
    const { state } = this, turn = ++this.turn;
    this.root.dataset.busy = "true";
    this.toolbar.show();
    const shown = this.sides.filter((side) => state.shown === "both" || state.shown === String(side.number));
    for (const side of this.sides) side.element.hidden = !shown.includes(side);
    this.row.classList.toggle("two", shown.length > 1);
    try {
      const loaded = await Promise.all(shown.map((side) => side.load()));
      if (turn !== this.turn) return; // a newer choice is on its way
      loaded.forEach((put) => put());
      this.trouble.hidden = true;
    } catch (error) {
      if (turn !== this.turn) return;
      this.trouble.textContent = `The map could not be loaded: ${error.message}`;
      this.trouble.hidden = false;
      for (const side of shown) side.loaded = false;
    }
    if (this.addressed) window.history.replaceState(null, "", written(this));
    this.redraw();
    this.root.dataset.busy = "false";
  }

  redraw() {
    const shown = this.sides.filter((side) => !side.element.hidden), loaded = shown.filter((side) => side.map);
    const amounts = loaded.flatMap((side) => side.panelShown().cells.map((cell) => side.map.values[cell]));
    this.mapHigh = greatest(amounts.map(Math.abs));
    this.heatHigh = greatest(shown.flatMap((side) => Array.from(side.values || [])));
    const line = shown.flatMap((side) => side.signalValues()).filter(defined), [least, most] = [Math.min(...line), Math.max(...line)];
    this.range = line.length ? [least >= 0 ? 0 : least, most <= 0 ? 0 : most] : [0, 1];
    for (const side of shown) side.draw();
    this.table.draw(shown);
  }

  destroy() {
    this.ended = true;
    this.toolbar.stop();
    this.watcher.disconnect();
    this.resizer.disconnect();
    for (const query of this.queries) query.removeEventListener("change", this.onQuery);
    window.removeEventListener("hashchange", this.onHash);
    this.source.close?.();
  }
}
