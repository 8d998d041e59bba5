// What stands around the views: the prompt, what the intervention did, diagnosis, provenance.

import { fold, h } from "./elements.js";

const BUTTONS = "as buttons under “Try an intervention”";

function block(part, { choose, live }) {
  const row = (tag, cells) => h("tr", {}, ...cells.map((cell) => h(tag, tag === "th" ? { scope: "col" } : {}, cell)));
  const word = (text, n) => h("button", { type: "button", className: "plain", title: "select this word", onclick: () => choose(n) }, text);
  const cells = ([first, ...rest], n) => [n in part.words ? word(first, part.words[n]) : first, ...rest];
  const body = () => [h("thead", {}, row("th", part.header)), h("tbody", {}, ...part.rows.map((each, n) => row("td", cells(each, n))))];
  const table = part.rows.length ? h("div", { className: "wide" }, h("table", {}, ...body())) : null;
  return [h("h3", {}, part.title), h("p", {}, [part.note, part.advice && live ? BUTTONS : part.advice].filter(Boolean).join(", ")), ...(table ? [table] : [])];
}

export function promptOf(data) {
  return h("div", {}, h("p", { className: "prompt" }, data.prompt),
    data.promptText === data.prompt ? null
      : h("details", { className: "faint" }, h("summary", {}, "the text that the model saw"), h("p", { className: "prompt", "data-role": "prompt-text" }, data.promptText)));
}

export function effectOf(data) {
  if (!data.effect.length) return null;
  const intervened = data.sides.some((side) => side.label === "with the intervention");
  const title = intervened ? "What the intervention did" : "Difference between the answers";
  return h("section", { className: "effect", "data-role": "effect" }, h("h2", {}, title), ...data.effect.map((line) => h("p", {}, line)));
}

export function marksOf(data) {
  if (!data.sides.some((each) => each.words.some((word) => word.kind))) return null;
  return h("p", { className: "faint" }, "marked words: ", h("span", { className: "is-true" }, "grounded"), ", ", h("span", { className: "is-wrong" }, "hallucinated"));
}

// `choose` selects a word of the answer by its number; `live`: what is proposed stands above as buttons.
export function diagnosisOf(side, { open, choose, live }) {
  if (!side.diagnosis.length) return null;
  return fold("diagnosis", `Diagnosis${side.label ? `, ${side.label}` : ""}`, { open }, ...side.diagnosis.flatMap((part) => block(part, { choose, live })));
}

export function provenanceOf(side) {
  return fold("provenance", `Provenance${side.label ? `, ${side.label}` : ""}`, {},
    h("table", {}, h("tbody", {}, ...side.facts.map(([name, text]) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, text))))));
}
