// The head of the table of runs: two rows, groups above columns; and how wide each column is.

import { icon } from "./cells.js";

const OWN = [
  { key: "status", label: "Status" },
  { key: "started_at", label: "Started", sort: true },
  { key: "duration", label: "Duration", sort: true, numeric: true },
  { key: "by", label: "By" },
];
const NARROWEST = 72;
const WIDEST = 320;
// Both sides of a cell, and the arrow of the order.
const AROUND = 42;

/** The columns from left to right, as `{ key, label, numeric, pinned, folded, n }`, the run's name first. */
export function layout({ pinned, groups }, isNumeric) {
  const with_ = (c) => ({ ...c, sort: true, numeric: c.kind === "metrics" || isNumeric(c.key) });
  const rest = groups.flatMap((g) => (g.folded ? [{ key: g.key, folded: true, n: g.columns.length }] : g.columns.map(with_)));
  return [{ key: "name", label: "Run", sort: true, pinned: true }, ...pinned.map((c) => ({ ...with_(c), pinned: true })), ...OWN, ...rest];
}

function sorter(column, { sort, href }) {
  const link = document.createElement("a");
  link.href = href(column.key);
  link.dataset.sort = column.key;
  const text = document.createElement("span");
  text.className = "clip";
  text.textContent = column.label;
  link.append(text);
  if (sort === column.key) link.append(icon("up"));
  if (sort === `-${column.key}`) link.append(icon("down"));
  return link;
}

const order = (key, sort) => (sort === key ? "ascending" : sort === `-${key}` ? "descending" : "none");

/** Writes both rows of the head. */
export function writeHead(thead, columns, { pinned, groups }, view) {
  const make = (tag, scope) => {
    const cell = document.createElement(tag);
    if (scope) cell.scope = scope;
    return cell;
  };
  const above = document.createElement("tr");
  above.className = "groups";
  above.setAttribute("aria-rowindex", "1");
  const corner = make("td");
  corner.className = "stick";
  above.append(corner);
  if (pinned.length) {
    const cell = make("th", "colgroup");
    cell.colSpan = pinned.length;
    cell.textContent = "Pinned";
    cell.classList.add("stick", "last");
    above.append(cell);
  }
  const own = make("td");
  own.colSpan = OWN.length;
  above.append(own);
  for (const group of groups) {
    const cell = make("th", "colgroup");
    cell.colSpan = group.folded ? 1 : group.columns.length;
    cell.classList.toggle("folded", group.folded);
    const link = document.createElement("a");
    link.href = view.foldHref(group.key);
    link.dataset.fold = group.key;
    link.title = `${group.title}: ${group.folded ? "show" : "fold away"} ${group.columns.length}`;
    link.setAttribute("aria-expanded", String(!group.folded));
    link.append(icon(group.folded ? "right" : "chevron"), group.title);
    cell.append(link);
    above.append(cell);
  }
  const below = document.createElement("tr");
  below.setAttribute("aria-rowindex", "2");
  for (const column of columns) {
    const cell = make("th", "col");
    if (column.folded) {
      cell.className = "folded";
      cell.textContent = String(column.n);
    } else if (column.sort) {
      cell.setAttribute("aria-sort", order(column.key, view.sort));
      if (column.kind) cell.title = column.key;
      cell.dataset.key = column.key;
      if (column.key === "name") {
        const pick = document.createElement("span");
        pick.className = "pick";
        cell.append(pick);
      }
      cell.append(sorter(column, view));
    } else {
      cell.textContent = column.label;
    }
    cell.classList.toggle("num", Boolean(column.numeric));
    cell.classList.toggle("stick", Boolean(column.pinned));
    below.append(cell);
  }
  thead.replaceChildren(above, below);
}

let ruler;
function measured(text, font) {
  ruler ??= document.createElement("canvas").getContext("2d");
  ruler.font = font;
  return ruler.measureText(text).width;
}

/** How wide each column is: as it was, or as its label and some of its texts need. Room that is left goes to what is not pinned. */
export function widths(columns, known, room, font, texts) {
  for (const column of columns) {
    if (known.has(column.key)) continue;
    if (column.folded) {
      known.set(column.key, 64);
      continue;
    }
    const needs = [column.label, ...texts(column)].map((text) => measured(text, font) + AROUND);
    known.set(column.key, Math.round(Math.min(Math.max(...needs, NARROWEST), WIDEST)));
  }
  const all = columns.map((column) => known.get(column.key));
  const spare = room - all.reduce((sum, width) => sum + width, 0);
  const loose = columns.filter((column) => !column.pinned && !column.folded).length;
  if (spare <= 0 || !loose) return all;
  return all.map((width, i) => (columns[i].pinned || columns[i].folded ? width : width + spare / loose));
}
