// The list of files. Only the rows in view exist, however many files there are.

"use strict";

const BEYOND = 4; // rows above and below what is seen

// What is worth seeing comes first: what failed, what moves, what waits, what is done.
const GROUPS = ["failed", "alike", "sending", "paused", "waiting", "done"];

const WORDS = { waiting: "Waits", paused: "Paused", sending: "Sending" };
const BUTTONS = { failed: "Retry", alike: "Store it" };
const DONE = { new: "Stored", held: "Already there" };

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0);
}

class UploadList {
  constructor(box, template, act) {
    this.box = box;
    this.list = box.firstElementChild;
    this.template = template;
    this.act = act;
    this.groups = Object.fromEntries(GROUPS.map((name) => [name, new Set()]));
    this.rows = new Map();
    this.isDue = false;
    box.addEventListener("scroll", () => this.changed(), { passive: true });
    addEventListener("resize", () => this.changed());
  }

  count(state) {
    return this.groups[state].size;
  }

  put(entry, state) {
    if (entry.state) this.groups[entry.state].delete(entry);
    entry.state = state;
    this.groups[state].add(entry);
    entry.changed = () => this.changed();
    this.changed();
  }

  remove(entry) {
    this.groups[entry.state].delete(entry);
    this.changed();
  }

  of(state) {
    return [...this.groups[state]];
  }

  first(state) {
    return this.groups[state].values().next().value;
  }

  changed() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      this.draw();
    });
  }

  // The entries from `start` to `end`, without a list of them all.
  *slice(start, end) {
    let index = 0;
    for (const name of GROUPS) {
      const group = this.groups[name];
      if (index + group.size <= start) {
        index += group.size;
        continue;
      }
      for (const entry of group) {
        if (index >= end) return;
        if (index >= start) yield [index, entry];
        index += 1;
      }
    }
  }

  draw() {
    const total = GROUPS.reduce((sum, name) => sum + this.groups[name].size, 0);
    const height = parseFloat(getComputedStyle(this.box).getPropertyValue("--file-row"));
    const start = Math.max(0, Math.floor(this.box.scrollTop / height) - BEYOND);
    const end = Math.min(total, Math.ceil((this.box.scrollTop + this.box.clientHeight) / height) + BEYOND);
    const wanted = new Map();
    for (const [index, entry] of this.slice(start, Math.max(end, start + 2 * BEYOND))) wanted.set(entry, index);
    for (const [entry, row] of this.rows) {
      if (wanted.has(entry)) continue;
      row.remove();
      this.rows.delete(entry);
    }
    let place = this.list.firstElementChild;
    for (const [entry, index] of wanted) {
      let row = this.rows.get(entry);
      if (!row) {
        row = this.make(entry);
        this.rows.set(entry, row);
      }
      if (row === place) place = place.nextElementSibling;
      else this.list.insertBefore(row, place);
      row.ariaPosInSet = index + 1;
      row.ariaSetSize = total;
      this.fill(row, entry);
    }
    this.list.style.paddingTop = `${start * height}px`;
    this.list.style.paddingBottom = `${Math.max(0, total - start - wanted.size) * height}px`;
  }

  make(entry) {
    const row = this.template.content.firstElementChild.cloneNode(true);
    const path = row.querySelector(".path");
    const slash = entry.path.lastIndexOf("/");
    path.title = entry.path;
    path.firstElementChild.textContent = entry.path.slice(slash + 1);
    path.lastElementChild.textContent = entry.path.slice(0, Math.max(0, slash));
    row.querySelector("button").addEventListener("click", () => this.act(entry));
    return row;
  }

  fill(row, entry) {
    const { state } = entry;
    const [link, text, like] = row.querySelectorAll(".what > .became, .what > span, .what > .like");
    const bar = row.querySelector("progress");
    const button = row.querySelector("button");
    row.className = `file ${state}`;
    const words = this.words(entry);
    if (text.textContent !== words) text.textContent = text.title = words;
    link.hidden = !entry.done?.image;
    if (!link.hidden) {
      link.href = entry.done.image;
      link.textContent = DONE[entry.done.state];
    }
    like.hidden = state !== "alike";
    if (!like.hidden) like.href = entry.like;
    bar.hidden = state !== "sending" && state !== "paused";
    bar.value = entry.bytes ? entry.sent / entry.bytes : 0;
    bar.setAttribute("aria-label", `Sent of ${entry.path}`);
    button.hidden = state === "done";
    button.textContent = BUTTONS[state] ?? "Cancel";
    button.setAttribute("aria-label", `${button.textContent}: ${entry.path}`);
  }

  words(entry) {
    if (entry.state === "done") return entry.done.image ? "" : DONE[entry.done.state];
    if (entry.state === "failed" || entry.state === "alike" || entry.note) return entry.note;
    const size = `${megabytes(entry.bytes)} MB`;
    if (entry.state === "waiting") return `${WORDS.waiting}, ${size}`;
    if (entry.sent >= entry.bytes) return "Sent, the server looks at it";
    return `${WORDS[entry.state]}, ${megabytes(entry.sent)} of ${size}`;
  }
}
