// The state of a report in its address: #word=3&layers=2-5&head=1&map=saliency&signal=entropy&patches=7,8

export function written({ state, data, sides }) {
  const { layers } = data.sides[0], found = new URLSearchParams(), first = sides.find((side) => !side.element.hidden) || sides[0];
  if (first.word >= 0) found.set("word", String(first.word));
  if (state.low === state.high) found.set("layer", String(layers[state.low]));
  else if (state.low > 0 || state.high < layers.length - 1) found.set("layers", `${layers[state.low]}-${layers[state.high]}`);
  if (state.head !== null) found.set("head", String(state.head));
  if (state.quantity !== data.sides[0].quantities[0].id) found.set("map", state.quantity);
  found.set("signal", state.signal);
  if (data.sides.length > 1) found.set("answer", state.shown);
  if (state.cells.size) found.set("patches", [...state.cells].sort((a, b) => a - b).join(","));
  return `#${found.toString().replaceAll("%2C", ",")}`;
}

const among = (text, all) => (all.includes(text) ? text : undefined);

// What an address asks for, as far as this page has it.
export function asked(hash, data) {
  const given = new URLSearchParams(hash.slice(1)), { layers, heads, words, cells, quantities } = data.sides[0], found = {};
  const whole = (text) => (/^\d+$/.test(text ?? "") ? Number(text) : -1), place = (text) => layers.indexOf(whole(text));
  const name = given.get("word"), word = whole(name) >= 0 ? whole(name) : words.findIndex(({ text }) => text === name);
  if (word >= 0 && word < words.length) found.word = word;
  const [low, high] = (given.get("layers") || "").split("-").map(place), single = place(given.get("layer"));
  if (single >= 0) Object.assign(found, { low: single, high: single });
  else if (low >= 0 && high >= low) Object.assign(found, { low, high });
  if (whole(given.get("head")) >= 0 && whole(given.get("head")) < heads) found.head = whole(given.get("head"));
  found.quantity = among(given.get("map"), quantities.map(({ id }) => id));
  found.signal = among(given.get("signal"), data.signals.map(({ id }) => id));
  found.shown = among(given.get("answer"), data.sides.length > 1 ? ["0", "1", "both"] : []);
  const chosen = (given.get("patches") || "").split(",").map(whole).filter((cell) => cell >= 0 && cell < cells);
  if (chosen.length) found.cells = new Set(chosen);
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}
