// What anywidget's model is to a notebook: messages to a local server and its answers, JSON and binary in one body.

const LENGTH = 4; // bytes before the JSON, which say how long it is

export class LocalServer {
  constructor(address) {
    this.address = address;
    this.listeners = new Set();
  }

  on(_name, listener) {
    this.listeners.add(listener);
  }

  off(_name, listener) {
    this.listeners.delete(listener);
  }

  async send(content, _callbacks, buffers = []) {
    let told = { id: content.id }, views = [];
    try {
      const answer = await fetch(this.address, { method: "POST", body: packed(content, buffers), headers: { "Content-Type": "application/octet-stream" } });
      if (answer.ok) [told, views] = unpacked(await answer.arrayBuffer());
      else told.error = (await answer.text()) || `the server answers ${answer.status}`;
    } catch {
      told.error = "the server does not answer; is lvlmscope app still running?";
    }
    for (const listener of this.listeners) listener({ ...told, id: content.id }, views);
  }
}

function packed(content, buffers) {
  const text = new TextEncoder().encode(JSON.stringify(content)), length = new DataView(new ArrayBuffer(LENGTH));
  length.setUint32(0, text.length, true);
  return new Blob([length, text, ...buffers]);
}

function unpacked(body) {
  const end = LENGTH + new DataView(body).getUint32(0, true), text = new TextDecoder().decode(new Uint8Array(body, LENGTH, end - LENGTH));
  return [JSON.parse(text), body.byteLength > end ? [new DataView(body, end)] : []];
}
