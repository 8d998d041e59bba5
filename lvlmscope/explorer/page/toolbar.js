// What is chosen for all views: answer, signal, map, layers, head, opacity; and the layers played one by one.

import { h, options } from "./elements.js";

const PAUSE = 700; // milliseconds a layer

export class Toolbar {
  constructor(explorer) {
    this.explorer = explorer;
    const { data, state } = explorer, side = data.sides[0], numbers = side.layers.map((number, n) => [n, String(number)]);
    const choose = (name, read) => (event) => explorer.update(() => { state[name] = read(event.target.value); });
    const select = (role, properties) => h("select", { "data-role": role, ...properties });
    this.signals = select("signal", { onchange: (event) => explorer.chooseSignal(event.target.value) });
    this.quantities = select("quantity", { onchange: choose("quantity", String) });
    options(this.quantities, side.quantities.map((entry) => [entry.id, entry.label]), state.quantity);
    this.low = select("low", { "aria-label": "first layer", onchange: ({ target }) => explorer.chooseLayers(Number(target.value), Math.max(Number(target.value), state.high)) });
    this.high = select("high", { "aria-label": "last layer", onchange: ({ target }) => explorer.chooseLayers(Math.min(Number(target.value), state.low), Number(target.value)) });
    options(this.low, numbers, state.low);
    options(this.high, numbers, state.high);
    this.heads = select("head", { onchange: choose("head", (value) => (value === "all" ? null : Number(value))) });
    options(this.heads, [["all", "all"], ...Array.from({ length: side.heads }, (_, n) => [n, String(n)])], "all");
    this.slider = h("input", { type: "range", min: 0, max: side.layers.length - 1, step: 1, value: state.low, "data-role": "layer", "aria-label": "one layer", oninput: () => { this.stop(); this.one(Number(this.slider.value)); } });
    this.player = h("button", { type: "button", "data-role": "play", onclick: () => (this.timer ? this.stop() : this.play()) }, "play");
    this.opacity = h("input", { type: "range", min: 0, max: 1, step: 0.02, value: state.opacity, "data-role": "opacity", oninput: () => { state.opacity = Number(this.opacity.value); explorer.redraw(); } });
    this.shown = select("shown", { onchange: choose("shown", String) });
    if (data.sides.length > 1) options(this.shown, [...data.sides.map((entry, n) => [String(n), entry.label]), ["both", "side by side"]], state.shown);
    this.element = this.build();
    this.listSignals();
  }

  build() {
    const { data, addressed } = this.explorer, several = this.quantities.options.length > 1, deep = data.sides[0].layers.length > 1;
    const told = h("span", { role: "status" });
    const link = () => { navigator.clipboard?.writeText(window.location.href).then(() => { told.textContent = "copied"; }, () => { told.textContent = "copy it from the address bar"; }); };
    return h("div", { className: "tools", role: "group", "aria-label": "display options" },
      data.sides.length > 1 ? h("label", {}, "answer", this.shown) : null,
      h("label", {}, "signal", this.signals), several ? h("label", {}, "map", this.quantities) : null,
      h("label", {}, "layers", h("span", { className: "range" }, this.low, "to", this.high)),
      deep ? h("label", {}, "one layer", h("span", { className: "range" }, this.slider, this.player)) : null,
      h("label", {}, "head", this.heads), h("label", {}, "map opacity", this.opacity),
      h("button", { type: "button", "data-role": "reset", onclick: () => this.explorer.reset() }, "reset layers and head"),
      addressed ? h("button", { type: "button", "data-role": "link", onclick: link }, "copy link to this state") : null, told);
  }

  // Signals come one after the other in a notebook.
  listSignals() {
    const { data, state } = this.explorer;
    options(this.signals, data.signals.map((entry) => [entry.id, entry.name]), state.signal);
  }

  show() {
    const { state } = this.explorer;
    this.low.value = String(state.low);
    this.high.value = String(state.high);
    this.slider.value = String(state.low);
    this.slider.setAttribute("aria-valuetext", this.explorer.chosenText(state.head));
    this.heads.value = state.head === null ? "all" : String(state.head);
    this.quantities.value = state.quantity;
    this.signals.value = state.signal;
    if (this.shown.options.length) this.shown.value = state.shown;
  }

  one(layer) {
    this.explorer.chooseLayers(layer, layer);
  }

  // Layer after layer, from the chosen one to the last.
  play() {
    const { state, data } = this.explorer, last = data.sides[0].layers.length - 1;
    let layer = state.low === state.high && state.low < last ? state.low : -1;
    const next = () => {
      if (++layer > last) return this.stop();
      this.one(layer);
      this.timer = setTimeout(next, PAUSE);
    };
    this.player.textContent = "stop";
    next();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.player.textContent = "play";
  }
}
