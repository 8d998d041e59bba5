// What the residual stream spells after each layer through the logit lens: of the chosen word, and of chosen patches.

import { h } from "./elements.js";
import { numberText } from "./numbers.js";

const PATCHES = 6; // that are shown at once

function table(header, rows) {
  return h("div", { className: "wide" }, h("table", {}, h("thead", {}, h("tr", {}, ...header.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, ...rows)));
}

export class LensTable {
  constructor(side) {
    this.side = side;
    this.element = h("div", { "data-role": "lens-table" });
  }

  draw() {
    const { lens } = this.side.data;
    if (!lens) return;
    this.element.replaceChildren(...this.ofWord(lens), ...this.ofPatches(lens));
  }

  // Layers from the last one down, as in the maps.
  layers(count) {
    return Array.from({ length: count }, (_, n) => count - 1 - n);
  }

  layerText(lens, n) {
    return lens.layers[n] < 0 ? "before the first" : String(lens.layers[n]);
  }

  ofWord(lens) {
    const word = this.side.data.words[this.side.word], token = h("code", {}, word.tokens[0].text);
    if (!lens.steps) return [h("p", { className: "faint" }, `Of the word: ${lens.steps_missing}`)];
    const at = lens.steps[word.steps[0]], commits = lens.commits[word.steps[0]];
    const rows = this.layers(lens.layers.length).map((n) => h("tr", {}, h("th", { scope: "row" }, this.layerText(lens, n)), h("td", {}, h("code", {}, lens.texts[at.top[n]])),
      h("td", { className: "number", "data-lens-layer": lens.layers[n] }, numberText(at.rank[n] === null ? NaN : at.rank[n] + 1)), h("td", { className: "number" }, numberText(at.p[n]))));
    return [h("h4", {}, "The word's first token, ", token),
      h("p", { className: "faint" }, commits === null ? "The model's own first choice was another token." : `It is the first choice from layer ${commits < 0 ? "0, before it" : commits} on.`),
      table(["after layer", "would say", "rank of the token", "its probability"], rows)];
  }

  ofPatches(lens) {
    if (!lens.patches) return [h("p", { className: "faint" }, `Of image tokens: ${lens.patches_missing}`)];
    const cells = [...this.side.explorer.state.cells].filter((cell) => cell < this.side.data.cells).sort((a, b) => a - b).slice(0, PATCHES);
    if (!cells.length) return [h("p", { className: "faint" }, "Select patches on the image to see what they spell.")];
    const rows = this.layers(lens.patches.layers.length).map((n) => h("tr", {}, h("th", { scope: "row" }, this.layerText(lens.patches, n)),
      ...cells.map((cell) => h("td", { "data-lens-cell": `${cell} ${lens.patches.layers[n]}` }, h("code", {}, lens.texts[lens.patches.top[n][cell]]), ` ${numberText(lens.patches.p[n][cell])}`))));
    return [h("h4", {}, "The selected image tokens"), h("p", { className: "faint" }, "the token that each spells, and its probability"), table(["after layer", ...cells.map((cell) => `image token ${cell}`)], rows)];
  }
}
