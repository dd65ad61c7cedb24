// A row of the table of runs: built once for its place, written anew for each run that comes by.

import { absolute, cell, duration, icon, MISSING, relative, state, turnIcon } from "./cells.js";
import { field } from "./runs-columns.js";

// The head has two rows, and rows are counted from 1.
const ABOVE = 3;

function nameParts(row, td) {
  td.scope = "row";
  row.box = Object.assign(document.createElement("input"), { type: "checkbox" });
  const pick = document.createElement("span");
  pick.className = "pick";
  pick.append(row.box);
  row.link = document.createElement("a");
  row.link.className = "row-link clip";
  td.append(pick, row.link);
}

function stateParts(row, td) {
  row.badge = document.createElement("span");
  row.badgeWord = document.createTextNode("");
  row.badge.append(icon("circle"), row.badgeWord);
  td.append(row.badge);
}

/** A row for these columns, the first of which is the run's name. */
export function makeRow(columns) {
  const row = document.createElement("tr");
  row.parts = columns.map((column, i) => {
    const td = document.createElement(i === 0 ? "th" : "td");
    if (i === 0) nameParts(row, td);
    if (column.key === "status") stateParts(row, td);
    if (column.key === "started_at") td.append((row.time = document.createElement("time")));
    if (column.folded) td.className = "folded";
    if (column.numeric) td.classList.add("num");
    if (column.pinned) {
      td.classList.add("stick");
      td.style.left = `${column.left}px`;
    }
    row.append(td);
    return td;
  });
  return row;
}

/** What a run has in a column: text, title, and whether it is missing or stands as a number. */
export const cellOf = (run, column) => cell(column.kind, run.of(field(column.key)));

/** The place of a row among all runs, from 0: of the page's own rows, too. */
export const placeOf = (row) => Number(row.ariaRowIndex) - ABOVE;

/** Writes a run into the row of its place, or that it has not come yet. */
export function writeRow(row, index, run, columns, { selected, runUrl }) {
  row.setAttribute("aria-rowindex", index + ABOVE);
  row.toggleAttribute("data-waiting", !run);
  row.toggleAttribute("data-selected", Boolean(run && selected.has(run.run_id)));
  row.box.hidden = !run;
  row.badge.hidden = !run;
  if (!run) {
    row.link.textContent = "";
    row.link.removeAttribute("href");
    row.time.textContent = "";
    for (const [i, column] of columns.entries()) if (column.kind || column.key === "duration" || column.key === "by") row.parts[i].textContent = "";
    return;
  }
  writeName(row, run, selected, runUrl);
  const [tone, sign, word] = state(run.status);
  row.badge.className = `badge ${tone}`;
  turnIcon(row.badge.firstChild, sign);
  row.badgeWord.data = word;
  const began = run.started_at && Date.parse(run.started_at);
  writeStart(row, run, began);
  for (const [i, column] of columns.entries()) {
    const td = row.parts[i];
    if (column.key === "duration") td.textContent = lasted(run, began);
    else if (column.key === "by") td.textContent = td.title = run.created_by.replace(/^user:/, "");
    else if (column.kind) writeCell(td, run, column);
  }
}

function writeName(row, run, selected, runUrl) {
  const name = run.name || run.run_id;
  Object.assign(row.link, { textContent: name, title: name, href: runUrl + encodeURIComponent(run.run_id) });
  Object.assign(row.box, { value: run.run_id, checked: selected.has(run.run_id) });
  row.box.setAttribute("aria-label", `Select ${name}`);
}

function writeStart(row, run, began) {
  row.time.textContent = began ? relative(began, Date.now()) : MISSING;
  row.time.className = began ? "" : "muted";
  row.time.removeAttribute("data-local");
  if (!began) return;
  row.time.dateTime = run.started_at;
  row.time.title = absolute(began);
}

function lasted(run, began) {
  const running = run.status === "RUNNING" || run.status === "SCHEDULED";
  const ended = run.ended_at ? Date.parse(run.ended_at) : running ? Date.now() : null;
  return began && ended !== null ? duration(Math.max(ended - began, 0)) : MISSING;
}

function writeCell(td, run, column) {
  const { text, title, missing, numeric } = cellOf(run, column);
  td.textContent = text;
  td.title = title ?? "missing";
  td.classList.toggle("missing", Boolean(missing));
  td.classList.toggle("num", Boolean(numeric || missing));
}
