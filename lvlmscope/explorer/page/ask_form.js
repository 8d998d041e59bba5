// The form of a local server's page: an image, a question, and below them the answer's explorer.

import { h } from "./elements.js";
import { LivePage } from "./live_page.js";
import { RequestedMaps } from "./requested_maps.js";
import { RunBar } from "./run_bar.js";

export class AskForm {
  constructor(root, model) {
    Object.assign(this, { model, source: new RequestedMaps(model), image: null });
    this.file = h("input", { type: "file", accept: "image/*", "data-role": "file", onchange: () => this.take(this.file.files[0]) });
    this.preview = h("img", { alt: "the chosen image", hidden: true });
    this.named = h("span", { className: "faint" }, "or drop one here");
    this.drop = h("label", { className: "drop" }, h("span", {}, "image ", this.file), this.named, this.preview);
    for (const name of ["dragover", "dragleave", "drop"]) this.drop.addEventListener(name, (event) => this.dragged(event));
    this.prompt = h("textarea", { rows: 2, required: true, "data-role": "prompt" }, "Describe the image.");
    this.tokens = h("input", { type: "number", min: 1, step: 1, value: 64, required: true, "data-role": "max-new-tokens" });
    this.button = h("button", { "data-role": "ask" }, "ask");
    this.bar = new RunBar("ask");
    this.trouble = h("p", { className: "note", role: "alert", hidden: true, "data-role": "ask-error" });
    this.element = h("form", { className: "ask", onsubmit: (event) => { event.preventDefault(); this.ask(); } }, this.drop,
      h("div", { className: "question" }, h("label", {}, "prompt", this.prompt), h("label", {}, "max new tokens", this.tokens),
        h("p", {}, this.button, " ", ...this.bar.elements)), this.trouble);
    this.below = h("div", { id: "explorer" });
    root.classList.add("lvx");
    root.replaceChildren(this.element, this.below);
  }

  dragged(event) {
    event.preventDefault();
    this.drop.classList.toggle("over", event.type === "dragover");
    if (event.type !== "drop") return;
    this.file.value = "";
    this.take(event.dataTransfer.files[0]);
  }

  take(file) {
    if (!file) return;
    this.image = file;
    this.complain("");
    if (this.preview.src) URL.revokeObjectURL(this.preview.src);
    Object.assign(this.preview, { src: URL.createObjectURL(file), hidden: false, onerror: () => { this.preview.hidden = true; } });
    this.named.textContent = this.file.value ? "" : file.name; // the browser names a chosen file itself
  }

  busy(running) {
    this.button.disabled = running;
    if (running) this.bar.start(); else this.bar.end();
  }

  complain(text) {
    this.trouble.textContent = text;
    this.trouble.hidden = !text;
  }

  async ask() {
    if (!this.image) return this.complain("Choose an image first.");
    this.complain("");
    const focused = this.element.contains(document.activeElement);
    this.busy(true);
    try {
      const content = { kind: "ask", prompt: this.prompt.value, max_new_tokens: this.tokens.valueAsNumber };
      const { told } = await this.source.ask(content, { buffers: [await this.image.arrayBuffer()], listen: this.bar.listen });
      this.page?.destroy();
      this.page = new LivePage(this.below, this.model, told.document, { files: true });
      this.page.explorer.sides[0].line.element.scrollIntoView({ block: "nearest" });
    } catch (error) {
      this.complain(error.message);
    }
    this.busy(false);
    if (focused && document.activeElement === document.body) this.button.focus({ preventScroll: true }); // a disabled button loses it
  }
}
