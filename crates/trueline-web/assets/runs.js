// Takes the table of runs over: all rows that match scroll, sort and filter without another page, columns are chosen and
// pinned at once, and the address always says what is shown. The rows come from `GET /api/v1/runs` (docs/search.md).

import { Body } from "./runs-body.js";
import { count, turnIcon } from "./cells.js";
import { arrange, field, first as firstColumns, panel } from "./runs-columns.js";
import { Feed } from "./runs-feed.js";
import { layout, widths, writeHead } from "./runs-head.js";
import { picks } from "./runs-picks.js";
import { cellOf, makeRow, placeOf, writeRow } from "./runs-row.js";

const TYPING_MS = 250;
const RESTING_MS = 400;
const RUNNING_MS = 5_000;
// What the address holds of a view that is kept under a name.
const VIEW_KEYS = ["filter", "sort", "col", "pin", "fold", "deleted"];
const ORDERS = { name: "run_name", started_at: "start_time", duration: "duration" };

const $ = (id) => document.getElementById(id);
const pane = $("runs");
const table = pane.querySelector("table");
const filter = $("filter");
const input = filter.elements.namedItem("filter");
const problem = $("filter-problem");
const said = $("said");
const given = pane.dataset;

// --- The view, as the address has it.
let view = new URLSearchParams(location.search);
let defaults = JSON.parse(given.columns);
const selected = new Set((view.get("selected") ?? "").split(",").filter(Boolean));
const start = Number(view.get("cursor")) || 0;
const numericKeys = new Set([...table.tHead.querySelectorAll("th.num[data-key]")].map((th) => th.dataset.key));
for (const box of table.querySelectorAll("tbody input:checked")) selected.add(box.value);

const shownKeys = () => (view.has("col") ? view.getAll("col") : defaults);
const pins = () => view.getAll("pin");
const path = location.pathname;
const address = (params) => (params.size ? `${path}?${params}` : path);

function changed(change) {
  const next = new URLSearchParams(view);
  for (const gone of ["cursor", "gone"]) next.delete(gone);
  change(next);
  return next;
}

const turned = (params, key) => params.set("sort", params.get("sort") === `-${key}` ? key : `-${key}`);
const setOrDrop = (params, key, value) => (value ? params.set(key, value) : params.delete(key));

function toggled(params, key, value) {
  const all = params.getAll(key);
  params.delete(key);
  for (const one of all.includes(value) ? all.filter((v) => v !== value) : [...all, value]) params.append(key, one);
}

// --- What is asked of the server.
let groups;
let columns = [];
const open = () => columns.filter((c) => c.kind);

function query() {
  const asks = new URLSearchParams({ experiment: given.experiment });
  if (view.get("filter")) asks.set("filter", view.get("filter"));
  if (view.get("deleted")) asks.set("view", "deleted");
  const sort = view.get("sort");
  if (sort) {
    const key = sort.replace(/^-/, "");
    asks.set("order_by", `${ORDERS[key] ?? field(key)} ${sort.startsWith("-") ? "desc" : "asc"}`);
  }
  for (const column of open()) asks.append("column", field(column.key));
  return asks.toString();
}

const feed = new Feed(given.rowsUrl, {
  rows: () => {
    tellProblem("");
    measureOnce();
    body.rewrite();
    pane.removeAttribute("aria-busy");
    focusWanted();
  },
  total: (n) => {
    showTotal(n);
    body.show();
  },
  refused: tellProblem,
});

const mark = (node, name, on) => (on ? node.setAttribute(name, "true") : node.removeAttribute(name));

function tellProblem(text) {
  problem.hidden = !text;
  problem.querySelector("span").textContent = text;
  input.classList.toggle("bad-field", Boolean(text));
  mark(input, "aria-invalid", Boolean(text));
}

function showTotal(n) {
  body.total = n;
  table.setAttribute("aria-rowcount", n + 2);
  $("no-match").hidden = n > 0;
  pane.hidden = n === 0;
  const told = n === 1 ? "1 run" : `${count(n)} runs`;
  $("range").textContent = told;
  if (said) said.textContent = told;
}

// --- Rows.
const rowOf = () => makeRow(columns);
const write = (row, index) => writeRow(row, index, feed.row(index), columns, { selected, runUrl: given.runUrl });

// --- Columns.
const known = new Map();
let font = "";

// The page's own columns keep their width, so that nothing moves when the module takes over.
function takeWidths() {
  const heads = [...table.tHead.rows[1].cells];
  const keys = layoutNow().map((c) => c.key);
  if (heads.length !== keys.length) return;
  heads.forEach((th, i) => known.set(keys[i], Math.ceil(th.getBoundingClientRect().width) + 1));
}

function layoutNow() {
  groups = arrange(shownKeys(), pins(), view.getAll("fold"));
  return layout(groups, (key) => numericKeys.has(key));
}

let unmeasured = false;
function measureOnce() {
  if (!unmeasured) return;
  unmeasured = false;
  const [from] = body.seen();
  const rows = Array.from({ length: 40 }, (_, i) => feed.row(from + i)).filter(Boolean);
  for (const column of open()) {
    const values = rows.map((run) => cellOf(run, column)).filter((c) => !c.missing);
    if (values.length && values.every((c) => c.numeric)) numericKeys.add(column.key);
  }
  build();
}

function build() {
  columns = layoutNow();
  const [from] = body.seen();
  const rows = Array.from({ length: 40 }, (_, i) => feed.row(from + i)).filter(Boolean);
  const texts = (column) => {
    if (column.kind) return rows.map((run) => cellOf(run, column).text);
    if (column.key === "name") return rows.map((run) => `${run.name}    `);
    return ["000 min 00 s"];
  };
  writeHead(table.tHead, columns, groups, {
    sort: view.get("sort") ?? "",
    href: (key) => address(changed((p) => turned(p, key))),
    foldHref: (key) => address(changed((p) => toggled(p, "fold", key))),
  });
  setWidths(texts);
  table.setAttribute("aria-colcount", columns.length);
  body.rebuild(columns.length);
  $("columns").closest("details").querySelector("[data-shown]").textContent = `${new Set([...shownKeys(), ...pins()]).size} of ${count(allColumns)}`;
}

let allColumns = Number(document.querySelector("[data-shown]").textContent.split(" of ")[1]?.replaceAll(",", "")) || 0;

function setWidths(texts = () => []) {
  const all = widths(columns, known, pane.clientWidth, font, texts);
  const group = document.createElement("colgroup");
  let left = 0;
  columns.forEach((column, i) => {
    const col = document.createElement("col");
    col.style.width = `${all[i]}px`;
    group.append(col);
    if (column.pinned) {
      column.left = left;
      left += all[i];
    }
  });
  table.querySelector("colgroup")?.remove();
  table.prepend(group);
  table.style.width = `${all.reduce((sum, width) => sum + width, 0)}px`;
  columns.forEach((column, i) => {
    if (column.pinned) table.tHead.rows[1].cells[i].style.left = `${column.left}px`;
  });
  const pinnedHead = table.tHead.querySelector(".groups th.stick");
  if (pinnedHead) pinnedHead.style.left = `${columns[1].left}px`;
}

// --- What changes the view.
function go(next, { push = true, rows = "new" } = {}) {
  view = next;
  history[push ? "pushState" : "replaceState"](null, "", address(view));
  follow(rows);
}

// `rows` is "new" for another filter or order, "same" for other columns of the same rows.
function follow(rows) {
  columns = layoutNow();
  if (rows === "new") {
    feed.ask(query());
    pane.scrollTop = 0;
  } else {
    feed.look(query());
  }
  pane.setAttribute("aria-busy", "true");
  build();
  unmeasured = true;
  carry();
  const [first, last] = body.seen();
  feed.want(first, Math.max(last, first + 1));
}

// The forms and links of the page carry what the view is now.
function carry() {
  const whole = address(changed((p) => ["filter", "deleted"].forEach((key) => p.delete(key))));
  const clear = $("clear");
  clear.hidden = !view.get("filter") && !view.get("deleted");
  for (const link of [clear, $("no-match").querySelector("a")]) link.href = whole;
  const saving = $("save-view");
  if (saving) {
    const kept = new URLSearchParams([...view].filter(([key]) => VIEW_KEYS.includes(key)));
    saving.elements.namedItem("query").value = kept;
  }
  const current = [...view].filter(([key]) => VIEW_KEYS.includes(key)).map(String).sort().join("&");
  for (const link of document.querySelectorAll(".saved a")) {
    const own = [...new URL(link.href).searchParams].map(String).sort().join("&");
    const here = own === current;
    mark(link, "aria-current", here);
    turnIcon(link.querySelector("svg"), here ? "check" : "eye");
  }
}

table.tHead.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const { sort, fold } = link.dataset;
  if (sort) go(changed((p) => turned(p, sort)));
  if (fold) go(changed((p) => toggled(p, "fold", fold)), { rows: "same" });
  table.tHead.querySelector(sort ? `[data-sort="${CSS.escape(sort)}"]` : `[data-fold="${CSS.escape(fold)}"]`)?.focus();
});

let typing = 0;
input.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(filterNow, TYPING_MS);
});
function filterNow(push = false) {
  clearTimeout(typing);
  const text = input.value.trim();
  if (text === (view.get("filter") ?? "") && problem.hidden) return;
  go(changed((p) => setOrDrop(p, "filter", text)), { push });
}
filter.addEventListener("submit", (event) => {
  event.preventDefault();
  filterNow(true);
});
filter.elements.namedItem("deleted").addEventListener("change", (event) => go(changed((p) => setOrDrop(p, "deleted", event.target.value))));

panel($("columns").closest("details"), given.columnsUrl, {
  shown: () => [...shownKeys(), ...pins()],
  pins,
  known: (all) => {
    allColumns = all.length;
    if (!view.has("col")) return;
    defaults = firstColumns(all);
  },
  choose: (what, key, on) => {
    const next = changed((p) => {
      if (what === "default") {
        p.delete("col");
        return;
      }
      const all = new Set(what === "pin" ? pins() : shownKeys());
      if (on) all.add(key);
      else all.delete(key);
      p.delete(what);
      for (const one of all) p.append(what, one);
      // What is not shown is not pinned.
      if (what === "col" && !on && pins().includes(key)) toggled(p, "pin", key);
    });
    go(next, { push: false, rows: "same" });
  },
});

for (const link of [$("clear"), $("no-match").querySelector("a")]) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    go(changed((p) => ["filter", "deleted"].forEach((key) => p.delete(key))));
    tellFilter();
    input.focus();
  });
}

function tellFilter() {
  input.value = view.get("filter") ?? "";
  filter.elements.namedItem("deleted").value = view.get("deleted") ?? "";
}

addEventListener("popstate", () => {
  view = new URLSearchParams(location.search);
  tellFilter();
  follow("new");
});

// --- Where one is, in the address.
let resting = 0;
function rests(first) {
  clearTimeout(resting);
  resting = setTimeout(() => {
    if ((Number(view.get("cursor")) || 0) === first) return;
    setOrDrop(view, "cursor", first ? String(first) : "");
    history.replaceState(null, "", address(view));
  }, RESTING_MS);
}

// --- Rows by keyboard: app.js walks the rows of other tables, which are all there, and the page's own until these are.
let active = null;
let wanted = null;
table.addEventListener("focusin", (event) => {
  const row = event.target.closest("tbody tr");
  if (row) active = row.at ?? null;
});
function focusWanted() {
  const link = wanted === null ? null : body.element(wanted)?.link;
  if (!link?.hasAttribute("href")) return;
  wanted = null;
  link.focus({ preventScroll: true });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches?.("input:not([type=checkbox]), textarea, select")) return;
  const step = { j: 1, k: -1 }[event.key];
  if (!step || !body.total || "rows" in table.dataset) return;
  event.preventDefault();
  const [first] = body.seen();
  wanted = Math.min(Math.max(active === null ? first : active + step, 0), body.total - 1);
  active = wanted;
  body.reveal(wanted);
  focusWanted();
});

// --- Selection.
const showSelected = picks(table, selected, {
  rows: (from, to) => feed.rows(from, to),
  changed: () => {
    setOrDrop(view, "selected", [...selected].join(","));
    history.replaceState(null, "", address(view));
    body.rewrite();
  },
});

// --- The start: the page's own rows stay until the module has them.
const body = new Body(pane, table, {
  make: rowOf,
  write,
  told: (first, last) => {
    feed.want(first, last);
    rests(first);
    const shown = body.total > last - first ? `${count(first + 1)}–${count(last)} of ` : "";
    $("range").textContent = `${shown}${body.total === 1 ? "1 run" : `${count(body.total)} runs`}`;
  },
});

async function begin() {
  font = getComputedStyle(table.querySelector("td, th")).font;
  columns = layoutNow();
  takeWidths();
  view.delete("gone");
  feed.ask(query(), given.result || null);
  const result = await feed.rows(start, Math.min(start + 60, Number(given.total)));
  if (!result.length && Number(given.total)) return;
  pane.classList.add("virtual");
  document.querySelector("[data-pages]").hidden = true;
  filter.querySelector("button[type=submit]").hidden = true;
  const walked = document.activeElement?.closest("#runs tbody tr");
  if (walked) wanted = active = placeOf(walked);
  table.removeAttribute("data-rows");
  build();
  if (start) body.scrollTo(start);
  focusWanted();
  carry();
  showSelected();
  pane.dataset.ready = "";
}
new ResizeObserver(() => {
  if (pane.dataset.ready !== undefined && columns.length) {
    setWidths();
    body.show();
  }
}).observe(pane);
setInterval(() => {
  if (document.hidden || pane.dataset.ready === undefined) return;
  const [first, last] = body.seen();
  let runs = false;
  for (let i = first; i < last && !runs; i += 1) runs = feed.row(i)?.status === "RUNNING";
  if (runs) feed.refresh();
}, RUNNING_MS);
begin();
