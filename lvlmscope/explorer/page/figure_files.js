// What is under each figure: save it as PNG or SVG, copy the Python code that draws it.
// A view has `figure()`: name, title, width, height, paint(pen, colours), scale (see pens.js) with its text, notes;
// and `code()`: Python, or nothing where no function of the library draws the same numbers.

import { h } from "./elements.js";
import { numberText } from "./numbers.js";
import { FONT, colourOf } from "./pens.js";
import { SvgPen } from "./svg_pen.js";

const MARGIN = 14, LINE = 17, RESOLUTION = 2;

function wrapped(text, width) {
  const pen = document.createElement("canvas").getContext("2d"), lines = [""];
  pen.font = FONT;
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (lines.at(-1) && pen.measureText(longer).width > width) lines.push(word); else lines[lines.length - 1] = longer;
  }
  return lines;
}

function laidOut(figure) {
  const width = Math.max(figure.width, 260), above = wrapped(figure.title, width);
  const below = [...(figure.scale ? wrapped(figure.scale.text, width) : []), ...figure.notes.filter(Boolean).flatMap((note) => wrapped(note, width))];
  const bar = figure.scale ? 30 : 0, height = 2 * MARGIN + (above.length + below.length) * LINE + figure.height + bar + 6;
  return { width: width + 2 * MARGIN, height, above, below, bar };
}

function paintWhole(pen, figure, layout, colours) {
  const write = (lines, top) => lines.forEach((line, n) => pen.fillText(line, MARGIN, top + n * LINE));
  const start = () => Object.assign(pen, { font: FONT, textAlign: "left", textBaseline: "middle", fillStyle: colours.ink });
  pen.fillStyle = colours.paper;
  pen.fillRect(0, 0, layout.width, layout.height);
  start();
  write(layout.above, MARGIN + LINE / 2);
  const top = MARGIN + layout.above.length * LINE + 4;
  pen.save();
  pen.translate(MARGIN, top);
  figure.paint(pen, colours);
  pen.restore();
  let under = top + figure.height + 6;
  start();
  if (figure.scale) {
    const { stops, low, high } = figure.scale, wide = Math.min(200, figure.width), step = wide / stops.length;
    stops.forEach((colour, n) => {
      pen.fillStyle = colourOf(stops, n / (stops.length - 1));
      pen.fillRect(MARGIN + n * step, under, step + 0.5, 10);
    });
    pen.fillStyle = colours.ink;
    pen.fillText(numberText(low), MARGIN, under + 18);
    pen.textAlign = "right";
    pen.fillText(numberText(high), MARGIN + wide, under + 18);
    under += layout.bar;
    start();
  }
  pen.fillStyle = colours.faint;
  write(layout.below, under + LINE / 2);
}

// The whole figure with title, colour bar and notes, in light colours.
export function svgOf(figure, colours) {
  const layout = laidOut(figure), pen = new SvgPen(layout.width, layout.height);
  paintWhole(pen, figure, layout, colours);
  return pen.text();
}

export function canvasOf(figure, colours) {
  const layout = laidOut(figure), canvas = document.createElement("canvas");
  canvas.width = Math.round(layout.width * RESOLUTION);
  canvas.height = Math.round(layout.height * RESOLUTION);
  const pen = canvas.getContext("2d");
  pen.scale(RESOLUTION, RESOLUTION);
  paintWhole(pen, figure, layout, colours);
  return canvas;
}

export function save(blob, name) {
  const url = URL.createObjectURL(blob), link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // no permission: the text is shown to be copied by hand
  }
}

export function figureButtons(view) {
  const { explorer } = view.side, code = h("pre", { hidden: true, tabIndex: 0, "data-role": "code" }), told = h("span", { role: "status" });
  const saved = async (kind) => {
    const figure = view.figure(), colours = explorer.palette({ light: true });
    const file = `${[figure.name, ...(view.side.data.label || "").split(/\s+/)].filter(Boolean).join("-")}.${kind}`;
    if (kind === "svg") return save(new Blob([svgOf(figure, colours)], { type: "image/svg+xml" }), file);
    canvasOf(figure, colours).toBlob((blob) => save(blob, file), "image/png");
  };
  const showCode = async () => {
    code.textContent = view.code();
    code.hidden = false;
    told.textContent = (await copied(code.textContent)) ? "copied" : "copy it from here";
  };
  const button = (role, text, onclick) => h("button", { type: "button", "data-role": role, onclick }, text);
  return h("div", { className: "figure-buttons" },
    button("png", "save PNG", () => saved("png")), button("svg", "save SVG", () => saved("svg")),
    view.code ? button("copy-code", "copy code", showCode) : null, told, code);
}
