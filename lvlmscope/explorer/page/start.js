// Where a page begins: a report, whose data is in it, or a notebook, where anywidget calls `render`.

import { h } from "./elements.js";
import { EmbeddedMaps } from "./embedded_maps.js";
import { Explorer } from "./explorer.js";
import { LivePage } from "./live_page.js";

export function start(page) {
  const data = JSON.parse(page.getElementById("data").textContent);
  return new Explorer(page.getElementById("explorer"), data, new EmbeddedMaps(data.maps, data.sides), { addressed: true });
}

export default {
  render({ model, el }) {
    const root = h("div");
    el.append(root);
    const page = new LivePage(root, model, model.get("document"));
    return () => page.destroy();
  },
};
