// A bar of a run: tokens while the answer is written, then what is read of it, which nobody counts.

import { h } from "./elements.js";

export class RunBar {
  constructor(role) {
    this.bar = h("progress", { hidden: true, "data-role": `${role}-progress`, "aria-label": "tracing" });
    this.tokens = h("span", { className: "faint", hidden: true, "data-role": `${role}-tokens` });
    this.told = h("span", { className: "faint", role: "status", "data-role": `${role}-told` });
    this.elements = [this.bar, " ", this.told, " ", this.tokens];
    this.listen = ([done, most]) => this.count(done, most);
  }

  start() {
    this.bar.hidden = false;
    this.bar.removeAttribute("value"); // unknown
    this.bar.scrollIntoView({ block: "nearest" });
    this.tell("writing the answer");
  }

  count(done, most) {
    if (this.bar.hidden) return;
    this.tokens.hidden = most === null;
    if (most === null) {
      this.bar.removeAttribute("value");
      return this.tell("tracing it");
    }
    Object.assign(this.bar, { max: most, value: done });
    this.tokens.textContent = `token ${done} of at most ${most}`;
  }

  // Where nothing runs the words are free for others.
  tell(text) {
    this.told.textContent = text;
  }

  end() {
    this.bar.hidden = this.tokens.hidden = true;
    this.tell("");
  }
}
