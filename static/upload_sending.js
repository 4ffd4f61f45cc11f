// Sends one file by the tus protocol 1.0.0, in parts, and goes on where it stopped.
// A request streams a slice of the file from the disk; nothing is read into memory.

"use strict";

const PART_BYTES = 8 * 2 ** 20;
// Between these sizes a file's sha256 is asked for before it is sent: below, sending is as quick,
// and above, the browser would have to hold too much at once. It holds one such file at a time.
const ASKED_FROM = 2 ** 20;
const ASKED_TO = 16 * 2 ** 20;
const LOOKS = 5000; // milliseconds between two looks at a file of which the server has all
const PAUSES = [500, 1000, 2000, 4000, 8000, 15000, 30000, 30000]; // milliseconds between tries

// Trying again by itself would not help.
class Refused extends Error {
  constructor(sentence, status = 0) {
    super(sentence);
    this.status = status;
  }
}
class Stopped extends Error {} // paused or cancelled

// It shows what an image of the sender's shows, and was not stored: `like` is the address of that.
class Alike extends Refused {
  constructor(sentence, like) {
    super(sentence);
    this.like = like;
  }
}

const PASSING = [0, 429, 500, 502, 503, 504]; // answers after which trying again may help

const BY_STATUS = {
  0: "The server does not answer.",
  401: "You are no longer logged in. Load the page again.",
  403: "This page is out of date. Load it again.",
  413: "The file is too large.",
};
const STANDSTILL = "The server took nothing of this file.";
const LOST = "What had arrived of this file is gone.";
const UNREADABLE = "Your browser can no longer read this file. Choose it again.";

function base64(text) {
  let bytes = "";
  for (const byte of new TextEncoder().encode(text)) bytes += String.fromCharCode(byte);
  return btoa(bytes);
}

function sentenceOf(request) {
  try {
    return JSON.parse(request.responseText).detail;
  } catch {
    return BY_STATUS[request.status] ?? "Something failed on the server.";
  }
}

// The connection to one server, with what every request carries.
class Sender {
  constructor({ api, csrf, maxBytes }) {
    Object.assign(this, { api, csrf, maxBytes, hashing: Promise.resolve() });
  }

  // Resolve to the XMLHttpRequest when it ended, well or not; `status` 0 is no answer.
  // fetch() would not tell how much was sent.
  request(method, address, { headers = {}, body = null, entry = null } = {}) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open(method, address);
      const common = { "X-CSRFToken": this.csrf, "Tus-Resumable": "1.0.0" };
      for (const [name, value] of Object.entries({ ...common, ...headers })) request.setRequestHeader(name, value);
      if (entry) {
        entry.request = request;
        request.upload.onprogress = (event) => {
          entry.sent = entry.offset + event.loaded;
          entry.changed?.();
        };
      }
      request.onloadend = () => {
        if (entry) entry.request = null;
        if (entry?.isStopped) reject(new Stopped());
        else resolve(request);
      };
      request.send(body);
    });
  }

  async json(method, address, value) {
    const body = value === undefined ? null : JSON.stringify(value);
    const request = await this.request(method, this.api + address, { body, headers: { "Content-Type": "application/json" } });
    if (request.status < 200 || request.status > 299) throw new Refused(sentenceOf(request), request.status);
    return JSON.parse(request.responseText);
  }

  // What the server has of these files of a session: an upload or null for each.
  known(entries, session) {
    const files = entries.map(({ path, bytes, modified }) => ({ path, bytes, modified }));
    return this.json("POST", "uploads/known", { files, session });
  }

  // Resolve to {state, image} when the server has the file; throw Refused with a sentence, or Stopped.
  async send(entry, session) {
    if (entry.isBegun) await this.#ask(entry);
    else if (!entry.address) await this.#askBySha(entry);
    entry.isBegun = true;
    let furthest = entry.offset;
    for (let tries = 0; !entry.done; ) {
      const before = entry.offset;
      const trouble = await this.#further(entry, session);
      const isThere = entry.bytes && entry.offset === entry.bytes;
      if (!entry.done && isThere && (!trouble || entry.isServerBusy)) {
        // Another request makes something of it, the server is at another video, or it cannot decode
        // or store now. It has the file and will not lose it: that takes as long as it takes.
        await this.#wait(LOOKS, entry, trouble);
        continue;
      }
      if (!trouble && (entry.done || entry.offset > before)) {
        if (entry.offset > furthest) tries = 0;
        furthest = Math.max(furthest, entry.offset);
        continue;
      }
      if (tries === PAUSES.length) throw new Refused(trouble || STANDSTILL);
      await this.#wait(PAUSES[tries], entry, trouble || STANDSTILL);
      await this.#ask(entry);
      tries = entry.offset > furthest ? 0 : tries + 1; // only a standstill uses up the tries
      furthest = Math.max(furthest, entry.offset);
    }
    return entry.done;
  }

  async #wait(milliseconds, entry, trouble) {
    if (trouble) entry.note = `${trouble} Trying again.`;
    entry.changed?.();
    try {
      await pause(milliseconds, entry);
    } finally {
      entry.note = "";
    }
  }

  // Note that the server has an image of these very bytes, whatever it was called then.
  // Whatever goes wrong here, the server finds out when it has the file.
  async #askBySha(entry) {
    const { bytes, file } = entry;
    if (!globalThis.crypto?.subtle || bytes < ASKED_FROM || bytes > Math.min(ASKED_TO, this.maxBytes)) return;
    try {
      const body = new FormData();
      body.append("sha256", await this.#sha256Of(file, entry));
      const request = await this.request("POST", `${this.api}duplicates/check`, { body });
      const [held] = JSON.parse(request.responseText).held;
      if (held.id) {
        entry.done = { state: "held", image: this.api.replace(/api\/v1\/$/, `images/${held.id}`) };
      }
    } catch {
      // An unreadable file or no answer: both are told of in what follows.
    }
    if (entry.isStopped) throw new Stopped();
  }

  // One file after the other: each is in memory as a whole meanwhile.
  #sha256Of(file, entry) {
    const turn = this.hashing.then(async () => {
      if (entry.isStopped) throw new Stopped();
      const sha256 = new Uint8Array(await crypto.subtle.digest("SHA-256", await file.arrayBuffer()));
      return [...sha256].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    });
    this.hashing = turn.catch(() => {});
    return turn;
  }

  // Send one part. Return "", or the sentence of a trouble that may pass.
  async #further(entry, session) {
    // Of a file that is too large the server is only told, so that it can say so.
    const end = entry.bytes > this.maxBytes ? 0 : entry.offset + PART_BYTES;
    const part = entry.file.slice(entry.offset, end);
    if (part.size && !(await isReadable(part))) throw new Refused(UNREADABLE);
    if (entry.isStopped) throw new Stopped();
    const headers = { "Content-Type": "application/offset+octet-stream" };
    let request;
    if (entry.address) {
      headers["Upload-Offset"] = entry.offset;
      request = await this.request("PATCH", entry.address, { headers, body: part, entry });
    } else {
      const said = { relativePath: entry.path, lastModified: entry.modified, session, duplicates: entry.duplicates };
      headers["Upload-Length"] = entry.bytes;
      headers["Upload-Metadata"] = Object.entries(said).map(([key, value]) => `${key} ${base64(value)}`).join();
      request = await this.request("POST", `${this.api}uploads`, { headers, body: part, entry });
    }
    entry.isToldOf ||= Boolean(entry.address) || [201, 413, 422].includes(request.status); // the session has a row of it
    return this.#read(request, entry);
  }

  #read(request, entry) {
    const { status } = request;
    entry.isServerBusy = status === 503;
    if (status === 201 || status === 204) {
      entry.address ??= request.getResponseHeader("Location");
      this.#stand(entry, request);
      const state = request.getResponseHeader("Upload-State");
      if (state) entry.done = { state, image: request.getResponseHeader("Upload-Image") };
      return "";
    }
    if (PASSING.includes(status)) return sentenceOf(request);
    if (status === 409) return "More of this file is there than this page has sent.";
    if ((status === 404 || status === 410) && entry.address) {
      Object.assign(entry, { address: null, offset: 0, sent: 0 }); // from the beginning
      return LOST;
    }
    const like = request.getResponseHeader("Upload-Like");
    if (like) throw new Alike(sentenceOf(request), like);
    throw new Refused(sentenceOf(request), status);
  }

  // Learn what the server has after all, when an answer did not come.
  async #ask(entry) {
    if (entry.address) {
      const request = await this.request("HEAD", entry.address, { entry });
      if (request.status === 200) this.#stand(entry, request);
      return;
    }
    try {
      const [upload] = await this.known([entry], entry.session);
      if (upload) this.take(entry, upload);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  }

  #stand(entry, request) {
    entry.offset = entry.sent = Number(request.getResponseHeader("Upload-Offset"));
  }

  // Go on with an upload that the server knows, or note that there is nothing to send.
  take(entry, upload) {
    if (upload.image) {
      entry.sent = entry.bytes;
      entry.done = { state: "held", image: upload.image_url };
    } else {
      entry.address = `${this.api}uploads/${upload.id}`;
      entry.offset = entry.sent = upload.received;
    }
  }

  async forget(entry) {
    if (!entry.address && entry.isBegun && !entry.done) {
      // The answer that would have named it was not waited for.
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await this.#ask(entry);
    }
    if (entry.address && !entry.done) await this.request("DELETE", entry.address);
  }
}

function pause(milliseconds, entry) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      entry.wake = null;
      resolve();
    }, milliseconds);
    entry.wake = () => {
      clearTimeout(timer);
      reject(new Stopped());
    };
  });
}

// A file that was changed or removed since it was chosen makes a request fail as a dead server does.
async function isReadable(part) {
  try {
    await part.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}

function stop(entry) {
  entry.isStopped = true;
  entry.request?.abort();
  entry.wake?.();
}
