// Python that draws a figure of the page with lvlmscope.plot, from a trace in a file.

const quoted = (text) => JSON.stringify(text);
const list = (numbers) => `[${numbers.join(", ")}]`;

// The trace of a side, from the file that `lvlmscope demo` gives it.
function loading({ data: { label } }) {
  const file = label === "with the intervention" ? "trace_with_intervention.safetensors" : "trace.safetensors", which = label ? `, ${label.replace(/\s+/g, " ")}` : "";
  return `import lvlmscope as lv\n\ntrace = lv.load_trace("${file}")  # or the trace at hand${which}\n`;
}

// The chosen layers by their numbers, nothing where all are chosen.
function chosen(side) {
  const { low, high, head } = side.explorer.state, { layers } = side.data;
  const all = low === 0 && high === layers.length - 1;
  return { layers: all ? null : layers.slice(low, high + 1), head };
}

export function overlayCode(side) {
  const { layers, head } = chosen(side), word = side.data.words[side.word], panel = side.panelShown(), quantity = side.quantity();
  const given = panel.image_index ? [`image_index=${panel.image_index}`] : [];
  if (quantity.given) {
    if (!quantity.kind) return `${loading(side)}values = ...  # what was given to the page\nlv.plot.overlay(trace, ${word.steps[0]}, values=values)\n`;
    const made = `model = lv.load("...")  # the model that made it\nvalues = lv.${quantity.kind}(trace, model, words=${word.steps[0]})`;
    return `${loading(side)}${made}\nlv.plot.overlay(${["trace", word.steps[0], "values=values", ...given].join(", ")})\n`;
  }
  if (quantity.id === "attention") {
    if (layers) given.unshift(`layers=${list(layers)}`);
    if (head !== null) given.unshift(`heads=[${head}]`);
    return `${loading(side)}lv.plot.overlay(${["trace", word.steps[0], ...given].join(", ")})\n`;
  }
  const parts = [`step=${list(word.steps)}`, layers ? `layer=${list(layers)}` : "", head === null ? "" : `head=[${head}]`].filter(Boolean);
  const lines = quantity.id === "saliency" ? ['found = lv.saliency(trace, heads="each", normalise=False)', `values = found.sel(${parts.join(", ")}).mean(["step", "head", "layer"])`]
    : ["dataset = trace.to_xarray()", "found = (-dataset.attention * dataset.gradient).clip(min=0)", `values = found.sel(${parts.join(", ")}).mean(["step", "head"]).sum("layer")`];
  return `${loading(side)}${lines.join("\n")}\nlv.plot.overlay(${["trace", word.steps[0], "values=values", ...given].join(", ")})\n`;
}

export function heatmapCode(side) {
  const word = side.data.words[side.word], parts = `step=${list(word.steps)}`, title = `title=${quoted(word.text)}`;
  const found = { attention: "lv.image_attention_focus(trace)", saliency: 'lv.saliency(trace, heads="each", normalise=False)[..., trace.image_keys].sum("key")' }[side.quantity().id];
  if (found) return `${loading(side)}found = ${found}\nlv.plot.heatmap(found.sel(${parts}).mean("step"), ${title})\n`;
  return `${loading(side)}dataset = trace.to_xarray()\nfound = (-dataset.attention * dataset.gradient).clip(min=0)[..., trace.image_keys].sum("key")\nlv.plot.heatmap(found.sel(${parts}).mean("step"), ${title})\n`;
}

export function timelineCode(side) {
  const { signal } = side.explorer, kinds = ["hallucinated", "grounded"].map((kind) => [kind, side.data.words.filter((word) => word.kind === kind).map((word) => word.steps[0])]);
  const marks = kinds.filter(([, steps]) => steps.length).map(([kind, steps]) => `, ${kind}=${list(steps)}`).join("");
  return `${loading(side)}signals = {each.name: each for each in lv.list_signals()}\nfound = signals[${quoted(signal.id)}].read(trace)\nlv.plot.timeline(trace, {${quoted(signal.name)}: found}${marks})\n`;
}
