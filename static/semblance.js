// The search page: an image that is dropped, pasted or chosen becomes the query.
// Without this script the forms still work; it only saves steps.

"use strict";

let shown = null; // the image that is the query; it survives the swaps of the page's part

function imageForm() {
  return document.getElementById("image-form");
}

function isShown() {
  return shown !== null && "shown" in (imageForm()?.dataset ?? {});
}

function hold() {
  const files = new DataTransfer();
  files.items.add(shown);
  document.getElementById("image").files = files.files;
}

function show(file) {
  shown = file;
  hold();
  imageForm().requestSubmit();
}

function firstFile(transfer) {
  return [...(transfer?.files ?? [])][0];
}

document.addEventListener("change", (event) => {
  if (event.target.id === "image" && event.target.files.length) show(event.target.files[0]);
});

// While an image is shown, words and filters refine that search instead of starting another.
document.addEventListener("htmx:afterSettle", () => {
  if (isShown()) hold();
});

document.addEventListener(
  "submit",
  (event) => {
    if (event.target.id !== "search-form" || !isShown()) return;
    event.preventDefault();
    event.stopPropagation();
    imageForm().requestSubmit();
  },
  { capture: true },
);

document.addEventListener(
  "click",
  (event) => {
    const chip = event.target.closest(".chip[data-field]");
    if (!chip || !isShown()) return;
    event.preventDefault();
    event.stopPropagation();
    for (const input of document.querySelectorAll(`#search-form [name="${chip.dataset.field}"]`)) {
      if (input.value === chip.dataset.value) input.value = "";
    }
    imageForm().requestSubmit();
  },
  { capture: true },
);

document.addEventListener("paste", (event) => {
  const file = firstFile(event.clipboardData);
  if (!file || !imageForm()) return;
  event.preventDefault();
  show(file);
});

let entered = 0; // dragenter and dragleave come for every element under the pointer

function isFileDrag(event) {
  return imageForm() && event.dataTransfer?.types.includes("Files");
}

document.addEventListener("dragenter", (event) => {
  if (!isFileDrag(event)) return;
  entered += 1;
  document.body.classList.add("dropping");
});

document.addEventListener("dragleave", (event) => {
  if (!isFileDrag(event)) return;
  entered -= 1;
  if (entered <= 0) document.body.classList.remove("dropping");
});

document.addEventListener("dragover", (event) => {
  if (isFileDrag(event)) event.preventDefault();
});

document.addEventListener("drop", (event) => {
  if (!isFileDrag(event)) return;
  event.preventDefault();
  entered = 0;
  document.body.classList.remove("dropping");
  const file = firstFile(event.dataTransfer);
  if (file) show(file);
});

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  const query = document.getElementById("q");
  if (!query) return;
  event.preventDefault();
  query.focus();
  query.select();
});

// Who does not see that the results changed is told so.
document.addEventListener("htmx:afterSettle", () => {
  const title = document.getElementById("results-title");
  document.getElementById("announcement").textContent = title?.textContent.trim() ?? "";
});

// What htmx does not put on the page: an answer that is no part of it, or none at all.
function tell(sentence) {
  const trouble = document.getElementById("trouble");
  trouble.textContent = sentence;
  trouble.hidden = !sentence;
}

const SENTENCES = {
  403: "This page is out of date. Load it again.",
  404: "That image is no longer there.",
  413: "That file is too large.",
};

document.addEventListener("htmx:beforeRequest", () => tell(""));
document.addEventListener("htmx:sendError", () => tell("The server does not answer. Try again in a moment."));
document.addEventListener("htmx:responseError", (event) => {
  const { status } = event.detail.xhr;
  if (status !== 400 && status !== 503) tell(SENTENCES[status] ?? "Something failed on the server. Try again in a moment.");
});
