// The upload page: files are sent a few at a time, each with its own bar, answer and retry.
// Without this script the form sends its files in one request.

"use strict";

const AT_ONCE = 4;
const ASK_AT_ONCE = 500; // files that the server is asked about in one request
const LOOK_EVERY = 2000; // milliseconds

const form = document.getElementById("upload-form");
const input = document.getElementById("images");
const folder = document.getElementById("folder");
const section = document.getElementById("sending");
const element = (id) => document.getElementById(id);

const suffixes = new Set(form.dataset.suffixes.split(" "));
const sender = new Sender({
  api: form.dataset.api,
  csrf: form.elements.csrfmiddlewaretoken.value,
  maxBytes: Number(form.dataset.maxMegabytes) * 1e6,
});
const list = new UploadList(element("files"), element("file-row"), act);

const chosen = { entries: [], skipped: 0, unreadable: 0 };
let session = form.dataset.session ?? "";
let sessionFields = session ? fields() : "";
const saidIn = new Map([[session, sessionFields]]); // by session
let isPaused = false;
let reading = Promise.resolve(); // of the last drop: two do not mix
const totals = { files: 0, bytes: 0, sent: 0, stored: 0, held: 0 };

for (const hidden of document.querySelectorAll(".with-script")) hidden.hidden = false;
input.required = false;

// Choosing

function plural(n, word) {
  return `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
}

function describeChoice() {
  const { entries, skipped, unreadable } = chosen;
  const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  const parts = [];
  if (entries.length) parts.push(`${plural(entries.length, "file")}, ${megabytes(bytes)} MB`);
  if (skipped) parts.push(`${plural(skipped, "file")} of the folders left aside: of no kind that is taken`);
  if (unreadable) parts.push(`${unreadable} cannot be read`);
  element("chosen").textContent = parts.join("; ");
}

function choose(found) {
  for (const entry of found.entries) chosen.entries.push(entry); // no spread: there may be 100,000
  chosen.skipped += found.skipped;
  chosen.unreadable += found.unreadable;
  describeChoice();
}

function takeChosen() {
  const { entries } = chosen;
  Object.assign(chosen, { entries: [], skipped: 0, unreadable: 0 });
  describeChoice();
  return entries;
}

for (const one of [input, folder]) {
  one.addEventListener("change", () => {
    choose(entriesOfInput(one.files, suffixes));
    one.value = "";
  });
}
element("choose-folder").addEventListener("click", () => folder.click());

document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});

document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});

document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.remove("dropping");
  const handles = handlesOf(event.dataTransfer);
  const news = (n) => {
    element("chosen").textContent = `Looking into the folders: ${plural(n, "file")} so far`;
  };
  reading = reading.then(() => entriesOfDrop(handles, suffixes, news)).then(choose);
});

// Beginning

function fields() {
  const { caption, tags, album, folders, visibility } = form.elements;
  return JSON.stringify({
    caption: caption.value,
    tags: tags.value.split(","),
    album: album.value,
    folders: folders.value,
    visibility: visibility.value,
  });
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  await reading;
  if (!chosen.entries.length) {
    element("chosen").textContent = "Choose at least one file.";
    return;
  }
  const entries = takeChosen();
  try {
    await begin(entries);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    choose({ entries: entries.filter((entry) => !entry.state), skipped: 0, unreadable: 0 });
    element("chosen").textContent = error.message;
  }
});

async function begin(entries) {
  await beginSession();
  try {
    await enqueue(entries);
  } catch (error) {
    if (error.status !== 404) throw error;
    session = ""; // it is forgotten by now
    await beginSession();
    await enqueue(entries);
  }
}

// One session, as long as the same is said of the files.
async function beginSession() {
  const said = fields();
  if (session && said === sessionFields) return;
  await show(await newSession(said), said);
}

async function newSession(said) {
  const record = await sender.json("POST", "upload-sessions", JSON.parse(said));
  saidIn.set(record.id, said);
  return record;
}

async function show(record, said) {
  session = record.id;
  sessionFields = said;
  history.replaceState(null, "", record.url);
  // Where it does not come, the files are sent all the same.
  await htmx.ajax("GET", record.url, { target: "#progress", swap: "outerHTML" }).catch(() => {});
}

// Ask which of them are there, announce the others, and put them in line.
async function enqueue(entries) {
  section.hidden = false;
  const duplicates = form.elements.duplicates.value;
  const missing = [];
  for (let start = 0; start < entries.length; start += ASK_AT_ONCE) {
    const some = entries.slice(start, start + ASK_AT_ONCE);
    const uploads = await sender.known(some, session);
    some.forEach((entry, index) => {
      Object.assign(entry, { offset: 0, sent: 0, session, duplicates });
      if (uploads[index]) sender.take(entry, uploads[index]);
      if (!entry.done) missing.push(entry);
    });
  }
  const begun = missing.filter((entry) => entry.address).length;
  await sender.json("PATCH", `upload-sessions/${session}`, { files: unbegun() + missing.length - begun });
  for (const entry of entries) {
    totals.files += 1;
    totals.bytes += entry.bytes;
    if (entry.done) finish(entry, entry.done);
    else list.put(entry, "waiting");
  }
  section.scrollIntoView({ block: "nearest" });
  sendNext();
}

function unbegun() {
  const left = [...list.of("waiting"), ...list.of("paused"), ...list.of("sending")];
  return left.filter((entry) => !entry.address && entry.session === session).length;
}

// Sending

function sendNext() {
  while (!isPaused && list.count("sending") < AT_ONCE && list.count("waiting")) send(list.first("waiting"));
  showTotals();
}

async function send(entry) {
  entry.isStopped = false;
  entry.note = "";
  list.put(entry, "sending");
  try {
    finish(entry, await sender.send(entry, entry.session));
  } catch (error) {
    if (error instanceof Stopped) {
      // "Go on" may have been pressed before this file noticed the "Pause".
      if (!entry.isCancelled) list.put(entry, isPaused ? "paused" : "waiting");
    } else if (error instanceof Refused) {
      entry.note = error.message;
      entry.status = error.status;
      entry.like = error.like ?? "";
      list.put(entry, entry.like ? "alike" : "failed");
    } else {
      throw error;
    }
  } finally {
    sendNext();
    look();
  }
}

// The place to say more of an image that was stored: `done` is {state, image}.
function finish(entry, done) {
  entry.done = done;
  entry.sent = entry.bytes;
  entry.file = null; // the browser may forget it
  totals.sent += entry.bytes;
  totals[done.state === "new" ? "stored" : "held"] += 1;
  list.put(entry, "done");
}

// A row's button.
function act(entry) {
  if (entry.state === "failed") {
    retry(entry);
  } else if (entry.state === "alike") {
    store(entry);
    sendNext();
  } else {
    cancel(entry);
    showTotals();
  }
}

function store(entry) {
  Object.assign(entry, { duplicates: "note", like: "" });
  sendAnew(entry);
}

// It takes its turn like any other: of thousands at once the browser would drop most requests. Its
// session forgets what it said of it; what the server has of it after all is not sent again.
function sendAnew(entry) {
  Object.assign(entry, { address: null, offset: 0, sent: 0, note: "" });
  list.put(entry, "waiting");
}

// A session is forgotten some time after its last file: then a new one takes its place, once for all
// of its files, and says the same of them. Where that fails, the next retry asks again.
const successors = new Map(); // promises, by the session that is gone

function successorOf(gone) {
  if (!successors.has(gone)) {
    const renewed = renew(gone);
    renewed.catch(() => successors.delete(gone));
    successors.set(gone, renewed);
  }
  return successors.get(gone);
}

async function renew(gone) {
  const said = saidIn.get(gone);
  const record = await newSession(said);
  if (session === gone || !session) await show(record, said);
  return record.id;
}

async function retry(entry) {
  try {
    if (entry.status === 404) entry.session = await successorOf(entry.session);
    if (entry.state !== "failed") return; // pressed twice
    entry.status = 0;
    sendAnew(entry);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    entry.note = error.message;
    list.changed();
  }
  sendNext();
}

function cancel(entry) {
  entry.isCancelled = true;
  stop(entry);
  sender.forget(entry);
  list.remove(entry);
  totals.files -= 1;
  totals.bytes -= entry.bytes;
}

element("retry-all").addEventListener("click", () => {
  for (const entry of list.of("failed")) act(entry);
});

element("store-all").addEventListener("click", () => {
  list.of("alike").forEach(store);
  sendNext();
});

element("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  element("pause").textContent = isPaused ? "Go on" : "Pause";
  if (isPaused) for (const entry of list.of("sending")) stop(entry);
  else for (const entry of list.of("paused")) list.put(entry, "waiting");
  sendNext();
});

element("cancel").addEventListener("click", () => {
  for (const state of ["waiting", "paused", "sending"]) list.of(state).forEach(cancel);
  showTotals();
});

// Telling

let wasBusy = false;

function showTotals() {
  const under = list.of("sending").concat(list.of("paused"));
  const sent = totals.sent + under.reduce((sum, entry) => sum + entry.sent, 0);
  const done = list.count("done");
  const failed = list.count("failed");
  const alike = list.count("alike");
  const left = under.length + list.count("waiting");
  const parts = [`${done.toLocaleString("en")} of ${plural(totals.files, "file")}`, `${megabytes(sent)} of ${megabytes(totals.bytes)} MB`];
  if (totals.held) parts.push(`${totals.held.toLocaleString("en")} already there`);
  if (alike) parts.push(`${alike.toLocaleString("en")} not stored: you have what ${alike === 1 ? "it shows" : "they show"}`);
  if (failed) parts.push(`${failed.toLocaleString("en")} failed`);
  element("totals").textContent = parts.join(" · ");
  element("sent-bytes").value = totals.bytes ? sent / totals.bytes : 1;
  element("sending-title").textContent = isPaused && left ? "Paused" : left ? "Sending" : failed ? "Sent, but not all" : alike ? "Sent; some look like images you have" : "All sent";
  element("retry-all").hidden = !failed;
  element("store-all").hidden = alike < 2;
  element("pause").hidden = element("cancel").hidden = !left;
  const isBusy = left > 0;
  if (isBusy !== wasBusy) element("sending-news").textContent = `${element("sending-title").textContent}: ${parts[0]}`;
  document.body.classList.toggle("is-sending", isBusy);
  if (wasBusy && !isBusy) reannounce();
  wasBusy = isBusy;
}

// What the browser found out itself was announced and not sent: the session need not wait for it.
function reannounce() {
  const files = list.of("failed").filter((entry) => !entry.isToldOf).length;
  sender.json("PATCH", `upload-sessions/${session}`, { files }).then(look, () => {});
}

setInterval(() => {
  if (list.count("sending")) showTotals();
}, 500);

// What the server says of the session: asked for now and then while files arrive.
let lookedAt = 0;
let looking = 0;

function look() {
  clearTimeout(looking);
  const wait = Math.max(0, lookedAt + LOOK_EVERY - performance.now());
  looking = setTimeout(() => {
    lookedAt = performance.now();
    htmx.trigger(document.body, "look");
  }, wait);
}

addEventListener("beforeunload", (event) => {
  if (list.count("sending") || list.count("waiting") || list.count("paused")) event.preventDefault();
});
