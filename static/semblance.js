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

// A chip, a facet or a thumb: the link's address is the refined search, the image goes along.
document.addEventListener(
  "click",
  (event) => {
    const link = event.target.closest("a[data-refines]");
    if (!link || !isShown() || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    event.stopPropagation();
    const context = { source: "#image-form", target: "#search-page", swap: "outerHTML" };
    htmx.ajax("POST", link.getAttribute("href"), context);
  },
  { capture: true },
);

// Further pages come by the search's id: the server does not have the image any more, we do.
let shownAddress = "";

document.addEventListener("htmx:load", () => {
  const kept = document.querySelector(".shown .kept");
  if (!kept || !isShown()) return;
  URL.revokeObjectURL(shownAddress);
  shownAddress = URL.createObjectURL(shown);
  const image = new Image();
  image.alt = kept.getAttribute("aria-label");
  image.src = shownAddress;
  kept.replaceWith(image);
});

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
  const title = document.getElementById("results-title")?.textContent ?? "";
  const sentence = title.replace(/\s+/g, " ").trim();
  const announcement = document.getElementById("announcement");
  if (announcement.textContent !== sentence) announcement.textContent = sentence;
});

// A link that led here is gone with what it stood in: go on at the results, not at the page's top.
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target?.id !== "search-page" || document.activeElement !== document.body) return;
  document.getElementById("results")?.focus({ preventScroll: true });
});

// Where there is room beside the images, facets are open; whoever closed them means it.
const BESIDE = matchMedia("(min-width: 1000px)");

function openFacets() {
  const facets = document.getElementById("narrow-down");
  if (!facets || "seen" in facets.dataset) return;
  facets.dataset.seen = "";
  if (BESIDE.matches && !localStorage.getItem("facets-closed")) facets.open = true;
}

document.addEventListener("htmx:load", openFacets);

document.addEventListener("click", (event) => {
  const summary = event.target.closest("#narrow-down > summary");
  if (!summary || !BESIDE.matches) return;
  if (summary.parentElement.open) localStorage.setItem("facets-closed", "yes");
  else localStorage.removeItem("facets-closed");
});

// What hangs over the page closes by Escape and by a click elsewhere.
function closeOthers(kept) {
  for (const open of document.querySelectorAll("details.save[open], details.plan[open]")) {
    if (open !== kept) open.open = false;
  }
}

document.addEventListener("click", (event) => closeOthers(event.target.closest("details.save, details.plan")));

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeOthers(null);
});

document.addEventListener("toggle", (event) => {
  if (event.target.matches?.("details.save[open]")) event.target.querySelector("input[name=name]")?.select();
}, { capture: true });

// The explanation of a hit.
document.addEventListener("htmx:afterSwap", (event) => {
  const { target } = event.detail; // none when the browser goes back
  if (target?.id === "why" && !target.open) target.showModal();
});

document.addEventListener("click", (event) => {
  if (event.target.id === "why") event.target.close(); // beside the dialog
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
  if (![400, 410, 503].includes(status)) tell(SENTENCES[status] ?? "Something failed on the server. Try again in a moment.");
});
