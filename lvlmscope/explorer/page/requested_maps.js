// Maps that Python computes on request, unrounded: what a notebook has, and the page of a local server.

const ROOM = 64e6; // bytes of answers that are remembered

export class RequestedMaps {
  static next = 0; // numbers of requests, shared: an answer to one page must not look like an answer to the next one

  // `document`: the number of what is shown, on a live page.
  constructor(model, document) {
    Object.assign(this, { model, document });
    this.waiting = new Map();
    this.known = new Map();
    this.size = 0;
    this.answer = (message, buffers) => {
      const entry = this.waiting.get(message.id);
      if (!entry) return;
      if (message.progress) return entry.listen?.(message.progress); // the answer is still to come
      this.waiting.delete(message.id);
      if (message.error) return entry.reject(new Error(message.error));
      const view = buffers?.[0];
      const bytes = view ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : null;
      entry.resolve({ told: message, bytes, data: bytes && bytes.byteLength % 4 === 0 ? new Float32Array(bytes) : null });
    };
    model.on("msg:custom", this.answer);
  }

  // `listen` hears how many tokens are written, and of how many at most.
  ask(content, { buffers, listen } = {}) {
    return new Promise((resolve, reject) => {
      const id = RequestedMaps.next++;
      this.waiting.set(id, { resolve, reject, listen });
      this.model.send({ ...content, document: this.document, id }, undefined, buffers);
    });
  }

  // The answer, kept for the next time.
  async values(content) {
    const key = JSON.stringify(content);
    if (!this.known.has(key)) {
      const promise = this.ask(content).then(({ data }) => {
        this.size += data.byteLength;
        return data;
      });
      promise.catch(() => this.known.delete(key));
      if (this.size > ROOM) { this.known.clear(); this.size = 0; }
      this.known.set(key, promise);
    }
    return this.known.get(key);
  }

  // A trace as a file, not kept.
  async file(side) {
    return (await this.ask({ kind: "file", side })).bytes;
  }

  heat(side, quantity, word) {
    return this.values({ kind: "heat", side, quantity, word });
  }
  async map(side, quantity, word, low, high, head) {
    return { values: await this.values({ kind: "map", side, quantity, word, low, high, head }), note: "" };
  }
  async grid(side, quantity, word, places, cells) {
    const all = await this.values({ kind: "grid", side, quantity, word }), rows = new Map();
    for (let place = 0; place < places; place++) rows.set(place, all.subarray(place * cells, (place + 1) * cells));
    return { rows, note: "" };
  }
  async links(side, quantity, word, low, high, head) {
    return { values: await this.values({ kind: "links", side, quantity, word, low, high, head }), note: "" };
  }
  async looked(side, quantity, cells, low, high, head) {
    return { values: await this.values({ kind: "looked", side, quantity, cells: [...cells], low, high, head }), note: "" };
  }
  // Signals, diagnosis and lenses, which take longer: one part of the document.
  async part(request) {
    const { told } = await this.ask({ kind: "part", ...request });
    return told.part;
  }
  // The document of both answers, the second one with interventions on.
  async run(stack, listen) {
    const { told } = await this.ask({ kind: "run", stack }, { listen });
    return told.document;
  }
  close() {
    this.model.off("msg:custom", this.answer);
  }
}
