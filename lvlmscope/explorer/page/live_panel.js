// Interventions to try on the same image and prompt: switches, their parameters, what the diagnosis proposes, and a run.

import { fold, h } from "./elements.js";
import { save } from "./figure_files.js";
import { ParameterForm } from "./parameter_form.js";
import { RunBar } from "./run_bar.js";

const FILES = ["trace.safetensors", "trace_with_intervention.safetensors"];

export class LivePanel {
  // `run(stack, listen)` gives the document of both answers; `show(document)` shows it; `file(side)` gives a trace's bytes.
  constructor(data, { run, show, open, file }) {
    Object.assign(this, { run, show, file, on: new Map(), proposals: [] });
    this.forms = new Map(data.interventions.map((each) => [each.name, new ParameterForm(each)]));
    this.switches = new Map(data.interventions.map((each) => [each.name, this.switchOf(each)]));
    this.proposed = h("div", { className: "proposals", hidden: true, "data-role": "proposals" });
    this.settings = h("div", { className: "settings" });
    this.button = h("button", { type: "button", "data-role": "run", onclick: () => this.start() }, "run");
    this.bar = new RunBar("run");
    this.files = h("p", { className: "faint", hidden: true, "data-role": "trace-files" });
    this.trouble = h("p", { className: "note", role: "alert", hidden: true, "data-role": "run-error" });
    this.element = fold("live", "Try an intervention", { open },
      this.proposed, h("div", { className: "switches", role: "group", "aria-label": "interventions" }, ...[...this.switches.values()].map((each) => each.element)),
      this.settings, h("p", { className: "run" }, this.button, ...this.bar.elements), this.trouble, this.files);
    this.element.classList.add("live");
    this.refresh();
  }

  // Files of the answers shown, by the names that the copied code loads.
  offer(count) {
    this.files.hidden = !this.file;
    this.files.replaceChildren("save for the code that figures give: ", ...FILES.slice(0, count).flatMap((name, side) =>
      [h("button", { type: "button", "data-file": name, onclick: () => this.keep(side, name) }, name), " "]));
  }

  async keep(side, name) {
    this.trouble.hidden = true;
    try {
      save(new Blob([await this.file(side)], { type: "application/octet-stream" }), name);
    } catch (error) {
      this.trouble.textContent = error.message;
      this.trouble.hidden = false;
    }
  }

  switchOf({ name, about }) {
    const box = h("input", { type: "checkbox", "data-intervention": name, onchange: () => this.turn(name, box.checked) });
    return { box, element: h("label", { title: about }, box, name) };
  }

  // Several act in the order in which they were switched on.
  turn(name, on) {
    const form = this.forms.get(name);
    if (on === this.on.has(name)) return;
    if (on) this.on.set(name, form); else this.on.delete(name);
    if (on) this.settings.append(form.element); else form.element.remove(); // the others stay, and with them what is being typed
    this.switches.get(name).box.checked = on;
    this.bar.tell("");
    this.refresh();
  }

  refresh() {
    const names = [...this.on.keys()];
    this.button.disabled = this.running || !names.length;
    this.button.textContent = names.length ? `run with ${names.join(" + ")}` : "run";
    if (!names.length) this.bar.tell("switch one on; the same image and prompt are traced again");
  }

  propose(proposals) {
    const known = proposals.filter(({ name }) => this.forms.has(name));
    this.proposals = known;
    this.proposed.hidden = !known.length;
    this.proposed.replaceChildren(h("p", { className: "faint" }, "proposed by the diagnosis; a click sets one and runs it"), ...known.map((each) =>
      h("p", {}, h("button", { type: "button", "data-proposal": each.name, onclick: () => this.take(each) }, each.name), " ", h("span", { className: "faint" }, each.reason))));
    this.busy(this.running);
  }

  take({ name, values }) {
    for (const other of [...this.on.keys()]) this.turn(other, false);
    this.forms.get(name).set(values);
    this.turn(name, true);
    return this.start();
  }

  busy(running) {
    this.running = Boolean(running);
    for (const each of this.proposed.querySelectorAll("button")) each.disabled = this.running;
    this.refresh();
  }

  async start() {
    if (this.running || !this.on.size) return;
    const stack = [...this.on].map(([name, form]) => ({ name, values: form.values() }));
    this.trouble.hidden = true;
    const focused = this.element.contains(document.activeElement);
    this.busy(true);
    this.bar.start();
    let made = null;
    try {
      made = await this.run(stack, this.bar.listen);
    } catch (error) {
      this.trouble.textContent = error.message;
      this.trouble.hidden = false;
    }
    this.bar.end();
    this.busy(false);
    const at = this.element.contains(document.activeElement) ? document.activeElement : focused ? this.button : null;
    if (made) this.show(made);
    if (document.activeElement === document.body) at?.focus({ preventScroll: true }); // lost by a disabled button, and by what moved
    if (!made) return;
    this.bar.tell(made.effect.find((line) => line.includes("word changed")) || "");
  }
}
