// An explorer that Python answers, and those that follow it when interventions are tried.

import { Explorer } from "./explorer.js";
import { LivePanel } from "./live_panel.js";
import { RequestedMaps } from "./requested_maps.js";

export class LivePage {
  // `files`: whether the traces can be saved from the page, as there is no Python that has them at hand.
  constructor(root, model, data, { files = false } = {}) {
    Object.assign(this, { root, model });
    const { live } = data, open = window.innerWidth >= 640;
    this.panel = live?.interventions ? new LivePanel(live, { run: (stack, listen) => this.explorer.source.run(stack, listen), show: (made) => this.show(made), open, file: files ? (side) => this.explorer.source.file(side) : null }) : null;
    this.panel?.offer(data.sides.length);
    this.explorer = new Explorer(root, data, this.source(data), { panel: this.panel });
  }

  source(data) {
    return new RequestedMaps(this.model, data.live?.document);
  }

  // What is chosen and what has arrived of the first answer stays.
  show(made) {
    if (this.ended) return;
    const from = this.explorer, [first] = from.data.sides, { signals } = from.data;
    first.label = made.sides[0].label;
    const others = made.signals.filter(({ id }) => !signals.some((each) => each.id === id));
    const later = [...(from.data.later || []).filter(({ side }) => side === 0), ...made.later.filter(({ side }) => side > 0)];
    const data = { ...made, sides: [first, ...made.sides.slice(1)], signals: [...signals, ...others].sort((a, b) => a.place - b.place), later };
    from.destroy();
    this.explorer = new Explorer(this.root, data, this.source(data), { panel: this.panel, from });
    this.panel.offer(made.sides.length);
    this.explorer.sides.at(-1).line.element.scrollIntoView({ block: "nearest" });
  }

  destroy() {
    this.ended = true;
    this.explorer.destroy();
  }
}
