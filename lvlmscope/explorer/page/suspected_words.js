// The judged words with the highest risk, below an answer whose words nobody has marked; each selects its word.

import { h } from "./elements.js";
import { defined, numberText } from "./numbers.js";

const LISTED = 3;

export class SuspectedWords {
  constructor(side) {
    this.side = side;
    this.element = h("p", { className: "faint", hidden: true, "data-role": "suspected" });
  }

  draw() {
    const { words, values } = this.side.data, risks = values.risk || [], signal = this.side.explorer.data.signals.find(({ id }) => id === "risk");
    const ranked = risks.map((_, n) => n).filter((n) => defined(risks[n])).sort((a, b) => risks[b] - risks[a]).slice(0, LISTED);
    const told = signal && !words.some(({ kind }) => kind) ? ranked.map((n) => `${n} ${risks[n]}`).join() : "";
    this.element.hidden = !told;
    if (told === this.told) return; // a redraw keeps the buttons, and the focus on one
    this.told = told;
    if (!told) return;
    const named = (n) => h("button", { type: "button", className: "plain", onclick: () => this.side.choose(n) }, `“${words[n].text}” ${numberText(risks[n])}`);
    this.element.replaceChildren(`highest ${signal.name}: `, ...ranked.flatMap((n, place) => (place ? [", ", named(n)] : [named(n)])));
  }
}
