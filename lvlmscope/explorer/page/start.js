// Where a page begins: a report, whose data is in it, a local server's form, or a notebook, where anywidget calls `render`.

import { AskForm } from "./ask_form.js";
import { h } from "./elements.js";
import { EmbeddedMaps } from "./embedded_maps.js";
import { Explorer } from "./explorer.js";
import { LivePage } from "./live_page.js";
import { LocalServer } from "./local_server.js";

export function start(page) {
  const data = JSON.parse(page.getElementById("data").textContent);
  return new Explorer(page.getElementById("explorer"), data, new EmbeddedMaps(data.maps, data.sides), { addressed: true });
}

export function startApp(page) {
  return new AskForm(page.getElementById("app"), new LocalServer("request"));
}

export default {
  render({ model, el }) {
    const root = h("div");
    el.append(root);
    const page = new LivePage(root, model, model.get("document"));
    return () => page.destroy();
  },
};
