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
    const listen = (message, buffer = []) => { for (const each of this.listeners) each({ ...message, id: content.id }, buffer); };
    try {
      const answer = await fetch(this.address, { method: "POST", body: packed(content, buffers), headers: { "Content-Type": "application/octet-stream" } });
      if (answer.ok) [told, views] = await unpacked(answer.body, listen);
      else told.error = (await answer.text()) || `the server answers ${answer.status}`;
    } catch {
      told.error = "the server does not answer; is lvlmscope app still running?";
    }
    listen(told, views);
  }
}

function packed(content, buffers) {
  const text = new TextEncoder().encode(JSON.stringify(content)), length = new DataView(new ArrayBuffer(LENGTH));
  length.setUint32(0, text.length, true);
  return new Blob([length, text, ...buffers]);
}

// The answer and the bytes behind it; `listen` is given the messages before it, which tell how far it is.
async function unpacked(body, listen) {
  const reader = new MessageReader(body);
  let told = await reader.message();
  for (; told.progress; told = await reader.message()) listen(told);
  const rest = await reader.take();
  return [told, rest.length ? [new DataView(rest.buffer, rest.byteOffset, rest.length)] : []];
}

class MessageReader {
  constructor(body) {
    this.reader = body.getReader();
    this.parts = [];
    this.size = 0;
  }

  async message() {
    const length = await this.take(LENGTH), count = new DataView(length.buffer, length.byteOffset).getUint32(0, true);
    return JSON.parse(new TextDecoder().decode(await this.take(count)));
  }

  // So many of the next bytes, or all that come.
  async take(count = Infinity) {
    let ended = false;
    while (this.size < count && !ended) {
      const { done, value } = await this.reader.read();
      ended = done;
      if (value) { this.parts.push(value); this.size += value.length; }
    }
    if (this.size < count && count < Infinity) throw new Error("the body ends in the middle of a message");
    const all = joined(this.parts, this.size), taken = all.subarray(0, Math.min(count, this.size));
    this.parts = [all.subarray(taken.length)];
    this.size -= taken.length;
    return taken;
  }
}

function joined(parts, size) {
  if (parts.length === 1) return parts[0];
  const all = new Uint8Array(size);
  let at = 0;
  for (const part of parts) { all.set(part, at); at += part.length; }
  return all;
}
