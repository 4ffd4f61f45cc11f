// What was dropped or chosen, as entries: {file, path}. Folders are walked to their last file;
// a File is only a handle, so thousands of them cost no memory to speak of.

"use strict";

const LONGEST_PATH = 1000;

function entryOf(file, path) {
  // Of a path that is too long its end is kept, as the server does.
  return { file, path: path.slice(-LONGEST_PATH), bytes: file.size, modified: String(file.lastModified) };
}

// Of a folder only what looks like an image is taken; what somebody picked himself is sent as it
// is, and the server says what it thinks of it.
function looksLikeImage(name, suffixes) {
  const suffix = name.slice(name.lastIndexOf(".")).toLowerCase();
  return !name.startsWith(".") && suffixes.has(suffix);
}

function fileOf(handle) {
  return new Promise((resolve, reject) => handle.file(resolve, reject));
}

function readSome(reader) {
  return new Promise((resolve, reject) => reader.readEntries(resolve, reject));
}

async function* walk(handle, path) {
  if (handle.isFile) {
    yield { handle, path };
    return;
  }
  const reader = handle.createReader();
  // Chromium hands out a hundred at a time, and nothing at the end.
  for (let some = await readSome(reader); some.length; some = await readSome(reader)) {
    for (const one of some) {
      if (!one.name.startsWith(".")) yield* walk(one, `${path}/${one.name}`);
    }
  }
}

// Must be called while the drop is handled: later the browser forgets what was dropped.
function handlesOf(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  return items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
}

// Return {entries, skipped, unreadable}; `news` is told how many were found so far.
async function entriesOfDrop(handles, suffixes, news) {
  const found = { entries: [], skipped: 0, unreadable: 0 };
  for (const top of handles) {
    if (top instanceof File) {
      found.entries.push(entryOf(top, top.name));
      continue;
    }
    try {
      for await (const { handle, path } of walk(top, top.name)) {
        if (top.isDirectory && !looksLikeImage(handle.name, suffixes)) {
          found.skipped += 1;
          continue;
        }
        try {
          found.entries.push(entryOf(await fileOf(handle), path));
        } catch {
          found.unreadable += 1;
        }
        if (found.entries.length % 100 === 0) news(found.entries.length);
      }
    } catch {
      found.unreadable += 1; // a folder that may not be entered; what was read of it stays
    }
  }
  return found;
}

function entriesOfInput(files, suffixes) {
  const found = { entries: [], skipped: 0, unreadable: 0 };
  for (const file of files) {
    const path = file.webkitRelativePath || file.name;
    const isHidden = path.split("/").some((part) => part.startsWith("."));
    if (file.webkitRelativePath && (isHidden || !looksLikeImage(file.name, suffixes))) found.skipped += 1;
    else found.entries.push(entryOf(file, path));
  }
  return found;
}
