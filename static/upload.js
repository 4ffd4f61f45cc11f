// The upload page: files go one by one, a few at a time, each with its own bar and its own answer.
// Without this script the form sends them all in one request.

"use strict";

const AT_ONCE = 3;

const form = document.getElementById("upload-form");
const input = document.getElementById("images");
const outcomes = document.getElementById("outcomes");
const sending = document.getElementById("sending");
const waiting = [];
let underWay = 0;

function describeChoice() {
  const files = [...input.files];
  const megabytes = files.reduce((sum, file) => sum + file.size, 0) / 1e6;
  document.getElementById("chosen").textContent = files.length
    ? `${files.length} ${files.length === 1 ? "image" : "images"}, ${megabytes.toFixed(1)} MB`
    : "";
}

function fieldsFor(file) {
  const fields = new FormData(form);
  fields.delete("images");
  fields.append("images", file);
  return fields;
}

function addRow(name) {
  const row = sending.content.firstElementChild.cloneNode(true);
  row.querySelector("span").textContent = name;
  outcomes.append(row);
  return row;
}

function refuse(row, sentence) {
  const reason = document.createElement("span");
  reason.textContent = sentence;
  row.querySelector("progress").replaceWith(reason);
  row.classList.add("refused");
}

function sendNext() {
  while (underWay < AT_ONCE && waiting.length) {
    underWay += 1;
    send(waiting.shift());
  }
}

function send({ fields, row }) {
  const request = new XMLHttpRequest();
  const bar = row.querySelector("progress");
  request.upload.addEventListener("progress", (event) => {
    if (event.lengthComputable) bar.value = event.loaded / event.total;
  });
  request.addEventListener("load", () => settle(row, request));
  request.addEventListener("error", () => refuse(row, "The server does not answer. Send it again."));
  request.addEventListener("loadend", () => {
    underWay -= 1;
    sendNext();
  });
  request.open("POST", form.action);
  request.setRequestHeader("HX-Request", "true");
  request.send(fields);
}

function settle(row, request) {
  if (request.getResponseHeader("HX-Refresh")) {
    refuse(row, "You are no longer logged in. Load the page again.");
  } else if (request.status === 200 || request.status === 400) {
    const answer = document.createElement("template");
    answer.innerHTML = request.responseText;
    const outcome = answer.content.querySelector(".outcome");
    if (outcome && "new" in outcome.dataset) {
      row.remove(); // from here on it is among the images below
      watch();
    } else if (outcome) {
      row.replaceWith(outcome);
    } else {
      refuse(row, "The server's answer cannot be read.");
    }
  } else {
    refuse(row, request.status === 413 ? "The file is too large." : "Something failed on the server. Send it again.");
  }
}

// The server ends htmx's polling when nothing is left to wait for; a later file starts it again.
let isWatched = true;
let askedAt = 0;
let storedAt = 0;

function watch() {
  storedAt = performance.now();
  if (isWatched) return;
  isWatched = true;
  const ended = document.getElementById("progress");
  const fresh = ended.cloneNode(true);
  ended.replaceWith(fresh);
  htmx.process(fresh);
}

document.addEventListener("htmx:beforeRequest", () => {
  askedAt = performance.now();
});

document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.xhr.status !== 286) return;
  isWatched = false;
  if (storedAt > askedAt) watch(); // the server could not know of it yet
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  for (const file of input.files) waiting.push({ fields: fieldsFor(file), row: addRow(file.name) });
  input.value = "";
  describeChoice();
  sendNext();
});

input.addEventListener("change", describeChoice);

document.addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});

document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});

document.addEventListener("drop", (event) => {
  if (!event.dataTransfer.files.length) return;
  event.preventDefault();
  document.body.classList.remove("dropping");
  input.files = event.dataTransfer.files;
  describeChoice();
});
