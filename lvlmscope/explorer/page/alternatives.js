// The most probable alternatives to each token of the chosen word.

import { bar, h } from "./elements.js";
import { numberText } from "./numbers.js";

const visible = (text) => h("code", {}, text || "(nothing visible)");

export class Alternatives {
  constructor(side) {
    this.side = side;
    this.table = h("table", { "data-role": "alternatives" });
    this.element = h("div", {}, this.table);
  }

  draw() {
    const rows = this.side.data.words[this.side.word].tokens.flatMap((token) => [
      h("tr", {}, h("th", { scope: "row", colSpan: 3 }, "token ", visible(token.text), `, probability ${numberText(token.p)}`)),
      ...token.others.filter((entry) => !entry[2]).map(([text, p]) => h("tr", {}, h("td", {}, visible(text)), h("td", { className: "number" }, numberText(p)), h("td", {}, bar(p)))),
    ]);
    this.table.replaceChildren(h("tbody", {}, ...rows));
  }
}
