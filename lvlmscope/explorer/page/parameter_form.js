// The parameters of one intervention, as Python describes them; what is allowed is checked there.

import { h } from "./elements.js";

const STEPS = 100; // of a slider between two ends

export class ParameterForm {
  constructor({ name, about, parameters }) {
    this.controls = parameters.map((each) => new Control(name, each));
    this.element = h("fieldset", { "data-settings": name }, h("legend", {}, name), about ? h("p", { className: "faint" }, about) : null,
      h("div", { className: "parameters" }, ...this.controls.map(({ element }) => element)));
  }

  values() {
    return Object.fromEntries(this.controls.map((control) => [control.name, control.value]));
  }

  set(values) {
    for (const control of this.controls) if (control.name in values) control.value = values[control.name];
  }
}

class Control {
  constructor(intervention, parameter) {
    Object.assign(this, { name: parameter.name, parameter });
    this.input = this.inputOf(parameter);
    Object.assign(this.input, { title: parameter.expected });
    this.input.setAttribute("data-parameter", `${intervention}.${parameter.name}`);
    const ends = parameter.low !== undefined;
    this.slider = ends ? h("input", { type: "range", min: parameter.low, max: parameter.high, step: "any", "aria-label": `${parameter.name}, slider`, "data-slider": `${intervention}.${parameter.name}`, oninput: () => this.slide() }) : null;
    this.value = parameter.value;
    if (ends) this.input.addEventListener("input", () => { this.slider.value = this.input.value; });
    this.element = h("label", { title: parameter.expected }, parameter.name, h("span", { className: "range" }, this.slider, this.input));
  }

  inputOf({ control, choices, whole }) {
    if (control === "switch") return h("input", { type: "checkbox" });
    if (control === "select") return h("select", {}, ...choices.map((each, n) => h("option", { value: String(n) }, String(each ?? "none"))));
    if (control === "number") return h("input", { type: "number", step: whole ? 1 : "any" });
    return h("input", { type: "text", size: 18, spellcheck: false, autocomplete: "off" });
  }

  slide() {
    const { low, high, whole } = this.parameter, step = whole ? 1 : (high - low) / STEPS, places = whole ? 0 : Math.max(0, 1 - Math.floor(Math.log10(step)));
    this.input.value = String(Number((low + Math.round((Number(this.slider.value) - low) / step) * step).toFixed(places)));
  }

  get value() {
    const { control, choices } = this.parameter;
    if (control === "switch") return this.input.checked;
    if (control === "select") return choices[Number(this.input.value)];
    if (control !== "number") return this.input.value;
    return Number.isNaN(this.input.valueAsNumber) ? null : this.input.valueAsNumber; // Python says what is expected
  }

  set value(given) {
    const { control, choices } = this.parameter;
    if (control === "switch") this.input.checked = given;
    else this.input.value = control === "select" ? String(choices.indexOf(given)) : String(given);
    if (this.slider) this.slider.value = String(given);
  }
}
