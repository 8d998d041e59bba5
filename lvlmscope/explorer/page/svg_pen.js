// A pen with the methods of a canvas that the views use, which writes SVG.

const number = (value) => String(Math.round(value * 100) / 100);
const SIGNS = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text) => String(text).replace(/[&<>"]/g, (sign) => SIGNS[sign]).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/g, "\ufffd");

export class SvgPen {
  constructor(width, height) {
    Object.assign(this, { width, height, parts: [], path: [], states: [], depth: 0 });
    Object.assign(this, { fillStyle: "#000", strokeStyle: "#000", lineWidth: 1, globalAlpha: 1, font: "12px sans-serif", textAlign: "left", textBaseline: "alphabetic" });
  }
  put(tag, attributes, text = null) {
    const written = Object.entries(attributes).map(([name, value]) => ` ${name}="${escaped(value)}"`).join("");
    this.parts.push(text === null ? `<${tag}${written}/>` : `<${tag}${written}>${escaped(text)}</${tag}>`);
  }
  paint(kind) {
    const alpha = this.globalAlpha < 1 ? { opacity: number(this.globalAlpha) } : {};
    return kind === "fill" ? { fill: this.fillStyle, ...alpha } : { fill: "none", stroke: this.strokeStyle, "stroke-width": number(this.lineWidth), ...alpha };
  }
  box(x, y, width, height) {
    return { x: number(x), y: number(y), width: number(width), height: number(height) };
  }
  fillRect(...at) { this.put("rect", { ...this.box(...at), "shape-rendering": "crispEdges", ...this.paint("fill") }); }
  strokeRect(...at) { this.put("rect", { ...this.box(...at), ...this.paint("stroke") }); }
  beginPath() { this.path = []; }
  moveTo(x, y) { this.path.push(`M${number(x)} ${number(y)}`); }
  lineTo(x, y) { this.path.push(`L${number(x)} ${number(y)}`); }
  quadraticCurveTo(a, b, x, y) { this.path.push(`Q${number(a)} ${number(b)} ${number(x)} ${number(y)}`); }
  rect(x, y, width, height) { this.path.push(`M${number(x)} ${number(y)}h${number(width)}v${number(height)}h${number(-width)}Z`); }
  arc(x, y, radius) { // whole circles only
    const r = number(radius);
    this.path.push(`M${number(x - radius)} ${number(y)}a${r} ${r} 0 1 0 ${number(2 * radius)} 0a${r} ${r} 0 1 0 ${number(-2 * radius)} 0Z`);
  }
  stroke() { this.put("path", { d: this.path.join(""), ...this.paint("stroke") }); }
  fill() { this.put("path", { d: this.path.join(""), ...this.paint("fill") }); }
  fillText(text, x, y) {
    const anchor = { left: "start", center: "middle", right: "end" }[this.textAlign] || "start";
    const [, size, family] = /([\d.]+)px (.*)/.exec(this.font);
    const middle = this.textBaseline === "middle" ? { "dominant-baseline": "central" } : {};
    const style = { "text-anchor": anchor, "font-size": size, "font-family": family, fill: this.fillStyle, ...middle };
    this.put("text", { x: number(x), y: number(y), "xml:space": "preserve", ...style }, text);
  }
  drawImage(canvas, x, y, width, height) {
    const alpha = this.globalAlpha < 1 ? { opacity: number(this.globalAlpha) } : {}, style = "image-rendering:pixelated";
    this.put("image", { ...this.box(x, y, width, height), preserveAspectRatio: "none", style, href: canvas.toDataURL("image/png"), ...alpha });
  }
  save() { this.states.push(this.depth); this.depth = 0; }
  restore() {
    while (this.depth--) this.parts.push("</g>");
    this.depth = this.states.pop();
  }
  shift(transform) { this.parts.push(`<g transform="${transform}">`); this.depth++; }
  translate(x, y) { this.shift(`translate(${number(x)} ${number(y)})`); }
  rotate(angle) { this.shift(`rotate(${number((angle * 180) / Math.PI)})`); }
  text() {
    const parsed = new DOMParser().parseFromString("<svg></svg>", "text/html").body.firstChild; // no address in the page
    return `<svg xmlns="${parsed.namespaceURI}" viewBox="0 0 ${number(this.width)} ${number(this.height)}" width="${number(this.width)}" height="${number(this.height)}">${this.parts.join("")}</svg>\n`;
  }
}
