// Elements of the page. Every text goes in as a text node; nothing is ever parsed as markup, and nothing is fetched.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => h("option", { value: String(value), selected: value === chosen }, text)));
}

// A part that can be folded away; `opened` is called whenever it is unfolded.
export function fold(role, title, { open = false, opened = () => {} } = {}, ...children) {
  const element = h("details", { open, "data-role": role }, h("summary", {}, title), ...children);
  element.addEventListener("toggle", () => { if (element.open) opened(); });
  return element;
}

// A bar as long as a share of 1.
export function bar(share) {
  const inner = h("i");
  inner.style.width = `${100 * Math.min(1, Math.max(0, share || 0))}%`;
  return h("span", { className: "chance", "aria-hidden": "true" }, inner);
}
