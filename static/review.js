// The review of an auto tag: answers without loading the page, by keys and for many images at once.
// Without this script the form answers for the images that are chosen.

"use strict";

const reviewForm = document.getElementById("review-form");
const REVIEW_SAID = { accept: "Accepted", reject: "Rejected" };
const reviewStack = `review ${reviewForm?.dataset.api}`; // what can be taken back, also on later pages

function reviewBoxes() {
  return [...reviewForm.querySelectorAll("input[name=image]")];
}

function reviewTile(box) {
  return box.closest("li");
}

function isOpen(box) {
  return !reviewTile(box).dataset.said;
}

function focusedBox() {
  const box = document.activeElement?.closest?.(".review-image")?.querySelector("input[name=image]");
  return box ?? null;
}

// What an answer is meant for: the chosen images, else the one that has the focus.
function meant() {
  const chosen = reviewBoxes().filter((box) => box.checked && isOpen(box));
  if (chosen.length) return chosen;
  const focused = focusedBox();
  return focused && isOpen(focused) ? [focused] : [];
}

async function send(answer, images) {
  const token = reviewForm.querySelector("[name=csrfmiddlewaretoken]").value;
  try {
    const response = await fetch(reviewForm.dataset.api, {
      method: "POST",
      keepalive: true, // also when the page is left meanwhile
      headers: { "Content-Type": "application/json", "X-CSRFToken": token },
      body: JSON.stringify({ [answer]: images }),
    });
    if (response.ok) return true;
    const { detail } = await response.json().catch(() => ({}));
    tell(detail ?? "Something failed on the server. Try again in a moment.");
  } catch {
    tell("The server does not answer. Try again in a moment.");
  }
  return false;
}

function mark(box, answer) {
  const tile = reviewTile(box);
  if (answer) tile.dataset.said = answer;
  else delete tile.dataset.said;
  tile.querySelector(".said").textContent = REVIEW_SAID[answer] ?? "";
  box.checked = false;
}

function count(state, by) {
  const shown = document.querySelector(`[data-count="${state}"]`);
  if (!shown) return;
  const number = Number(shown.textContent.replace(/\D/g, "")) + by;
  shown.textContent = Math.max(0, number).toLocaleString("en");
}

const STATE_OF = { accept: "accepted", reject: "rejected" };

function pageState() {
  return reviewForm.elements.state.value;
}

// One after the other: who takes back at once means the answer that is still on its way.
let lastSent = Promise.resolve();
function inTurn(work) {
  lastSent = lastSent.then(work);
  return lastSent;
}

function answerFor(answer, boxes) {
  if (!boxes.length) return;
  const images = boxes.map((box) => box.value);
  const state = pageState();
  for (const box of boxes) mark(box, answer); // at once: the next one can be looked at
  leadOn();
  goOn(boxes.at(-1));
  inTurn(async () => {
    if (await send(answer, images)) {
      const kept = JSON.parse(sessionStorage.getItem(reviewStack) ?? "[]");
      sessionStorage.setItem(reviewStack, JSON.stringify([...kept.slice(-49), { answer, images, state }]));
      count(state, -images.length);
      count(STATE_OF[answer], images.length);
    } else {
      for (const box of boxes) mark(box, "");
    }
    leadOn();
  });
}

async function undo() {
  const kept = JSON.parse(sessionStorage.getItem(reviewStack) ?? "[]");
  const last = kept.pop();
  if (!last || !(await send("undo", last.images))) return;
  sessionStorage.setItem(reviewStack, JSON.stringify(kept));
  const here = reviewBoxes().filter((box) => last.images.includes(box.value));
  for (const box of here) mark(box, "");
  count(STATE_OF[last.answer], -last.images.length);
  count(last.state, last.images.length);
  document.getElementById("announcement").textContent = "Taken back.";
  here[0]?.focus();
  leadOn();
}

function goOn(after) {
  const boxes = reviewBoxes();
  const from = boxes.indexOf(after);
  const following = [...boxes.slice(from + 1), ...boxes.slice(0, from)].find(isOpen);
  (following ?? nextLink() ?? after).focus();
}

function nextLink() {
  return reviewForm.querySelector("[data-act=next]");
}

// What was answered is no longer in the list: the next page begins so much earlier.
function leadOn() {
  const link = nextLink();
  if (!link) return;
  const address = new URL(link.href);
  const skipped = Number(reviewForm.elements.skip.value) + reviewBoxes().filter(isOpen).length;
  if (skipped) address.searchParams.set("skip", skipped);
  else address.searchParams.delete("skip");
  link.href = address;
}

function selectAll() {
  const open = reviewBoxes().filter(isOpen);
  const isAll = open.every((box) => box.checked);
  for (const box of open) box.checked = !isAll;
  if (!focusedBox()) open[0]?.focus();
}

function columns() {
  const tiles = [...reviewForm.querySelectorAll(".review-image")];
  const top = tiles[0].offsetTop;
  const second = tiles.findIndex((tile) => tile.offsetTop > top);
  return second < 0 ? tiles.length : second;
}

function move(by) {
  const boxes = reviewBoxes();
  const focused = focusedBox();
  const place = focused ? boxes.indexOf(focused) + by : 0;
  boxes[Math.min(Math.max(place, 0), boxes.length - 1)].focus();
}

const REVIEW_KEYS = {
  a: () => reviewForm.querySelector("[value=accept]") && answerFor("accept", meant()),
  r: () => reviewForm.querySelector("[value=reject]") && answerFor("reject", meant()),
  u: () => (reviewForm.querySelector("[value=undo]") ? takeBack() : inTurn(undo)),
  s: selectAll,
  n: () => inTurn(() => nextLink()?.click()),
  ArrowRight: () => move(1),
  ArrowLeft: () => move(-1),
  ArrowDown: () => move(columns()),
  ArrowUp: () => move(-columns()),
};

// On the pages of what is answered: the chosen ones go back to where they were.
async function takeBack() {
  const boxes = meant();
  if (!boxes.length || !(await send("undo", boxes.map((box) => box.value)))) return;
  for (const box of boxes) {
    mark(box, "undo");
    reviewTile(box).querySelector(".said").textContent = "Taken back";
  }
  count(pageState(), -boxes.length);
  goOn(boxes.at(-1));
}

// Somebody who dictates, or who touches a key by mistake, would answer without knowing: keys that
// are letters can be turned off, and stay so.
const LETTERS_OFF = "review-letters-off";
const lettersSwitch = document.getElementById("letter-keys");

function showLetters() {
  reviewForm.classList.toggle("letters-off", !lettersSwitch.checked);
}

if (reviewForm) {
  lettersSwitch.checked = !localStorage.getItem(LETTERS_OFF);
  showLetters();
  lettersSwitch.addEventListener("change", () => {
    if (lettersSwitch.checked) localStorage.removeItem(LETTERS_OFF);
    else localStorage.setItem(LETTERS_OFF, "yes");
    showLetters();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("textarea, select, input:not([type=checkbox])")) return;
    const isLetter = event.key.length === 1;
    if (isLetter && !lettersSwitch.checked) return;
    const act = REVIEW_KEYS[isLetter ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  reviewForm.addEventListener("submit", (event) => {
    const answer = event.submitter?.value;
    if (!answer || !meant().length) return;
    event.preventDefault();
    if (answer === "undo") takeBack();
    else answerFor(answer, meant());
  });
  reviewForm.addEventListener("click", (event) => {
    const act = event.target.closest("[data-act]")?.dataset.act;
    if (act === "undo") inTurn(undo);
    if (act === "all") selectAll();
  });
  leadOn();
}
