// Signals, diagnosis and lenses, which Python computes after the words and maps are shown; with a bar meanwhile.

import { h } from "./elements.js";

export class LaterParts {
  constructor(explorer) {
    this.explorer = explorer;
    this.bar = h("progress", { max: 1, value: 0 });
    this.told = h("span", {});
    this.element = h("p", { className: "faint", role: "status", hidden: true, "data-role": "progress" }, this.bar, " ", this.told);
  }

  async load() {
    const { data, source } = this.explorer, wanted = data.later || [];
    for (const [done, request] of wanted.entries()) {
      this.element.hidden = false;
      this.bar.value = done / wanted.length;
      this.told.textContent = `${request.told} (${done + 1} of ${wanted.length})`;
      try {
        this.merge(data.sides[request.side], await source.part({ side: request.side, part: request.part }));
      } catch (error) {
        data.sides[request.side].notes.push(`${request.told}: ${error.message}`);
      }
      if (this.explorer.ended) return;
      data.later = data.later.filter((each) => each !== request);
      this.explorer.partsChanged();
    }
    this.element.hidden = true;
  }

  merge(side, part) {
    const { signals } = this.explorer.data;
    for (const signal of part.signals || []) if (!signals.some(({ id }) => id === signal.id)) signals.push(signal);
    signals.sort((a, b) => a.place - b.place);
    Object.assign(side.values, part.values || {});
    side.notes.push(...(part.notes || []));
    if (part.diagnosis) side.diagnosis = part.diagnosis;
    if (part.lens) side.lens = part.lens;
    if (part.proposals) side.proposals = part.proposals;
  }
}
