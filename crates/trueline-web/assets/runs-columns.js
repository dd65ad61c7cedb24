// Columns of the table of runs: what a key means, how columns stand together, and the panel in which they are chosen.

import { count, icon } from "./cells.js";

const KINDS = { metrics: "Metrics", params: "Params", tags: "Tags" };
// Offered at a time; the search finds the others.
const OFFERED = 300;
const FIRST = { metrics: 4, params: 4 };

/** `metrics.val/auc`: its kind, name, prefix and what follows that. */
export function column(key) {
  const dot = key.indexOf(".");
  const kind = key.slice(0, dot);
  const name = key.slice(dot + 1);
  if (!(kind in KINDS) || !name) return null;
  const prefix = name.slice(0, name.lastIndexOf("/") + 1);
  return { key, kind, name, prefix, label: name.slice(prefix.length) };
}

/** As the filter and the order name it. */
export const field = (key) => key.replace(/^(\w+)\.(.*)$/s, "$1.`$2`");

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Columns in groups: the pinned ones, then by kind and prefix, as src/pages/run_table.rs arranges them. */
export function arrange(keys, pins, folds) {
  const columns = [...new Set([...keys, ...pins])].map(column).filter(Boolean);
  const pinned = columns.filter((c) => pins.includes(c.key)).map((c) => ({ ...c, label: c.name }));
  const kinds = Object.keys(KINDS);
  const rest = columns.filter((c) => !pins.includes(c.key));
  rest.sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind) || compare(a.prefix, b.prefix) || compare(a.name, b.name));
  const groups = [];
  for (const c of rest) {
    const key = `${c.kind}.${c.prefix}`;
    const title = c.prefix ? `${KINDS[c.kind]} · ${c.prefix}` : KINDS[c.kind];
    if (groups.at(-1)?.key !== key) groups.push({ key, title, columns: [], folded: folds.includes(key) });
    groups.at(-1).columns.push(c);
  }
  return { pinned, groups };
}

/** The keys of all columns that there are, by the names that the server tells. */
export function known(names) {
  const tags = names.tags.filter((name) => !name.startsWith("mlflow."));
  const keys = (kind, list) => list.map((name) => `${kind}.${name}`);
  return [...keys("metrics", names.metrics), ...keys("params", names.params), ...keys("tags", tags)];
}

/** What a table starts with. */
export const first = (all) => Object.entries(FIRST).flatMap(([kind, n]) => all.filter((key) => key.startsWith(`${kind}.`)).slice(0, n));

function choice(kind, key, name, shown, pinned) {
  const row = document.createElement("div");
  row.className = "choice";
  const box = (role, checked) => {
    const input = document.createElement("input");
    Object.assign(input, { type: "checkbox", name: role, value: key, checked });
    return input;
  };
  const show = document.createElement("label");
  show.className = "check";
  const text = document.createElement("span");
  text.className = "clip";
  text.textContent = name;
  text.title = name;
  show.append(box("col", shown), " ", text);
  const pin = document.createElement("label");
  pin.className = "pin";
  pin.title = "Keep at the left";
  const pinBox = box("pin", pinned);
  pinBox.setAttribute("aria-label", `Pin ${key}`);
  pin.append(pinBox, icon("pin"));
  row.append(show, pin);
  return row;
}

/** Turns the form of the page into a panel that acts at once: `told.shown()` and `told.pins()` say what is, `told.choose` changes it. */
export function panel(details, url, told) {
  const form = details.querySelector("form");
  const list = form.querySelector("[data-choices]");
  const search = document.createElement("input");
  Object.assign(search, { type: "search", placeholder: "Find a column", autocomplete: "off" });
  search.setAttribute("aria-label", "Find a column");
  const head = document.createElement("div");
  head.className = "panel-head";
  head.append(search);
  list.before(head);
  form.querySelector("button[type=submit]").hidden = true;
  let all = [];

  const draw = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const [shown, pins] = [told.shown(), told.pins()];
    const fits = all.filter((key) => words.every((word) => key.toLowerCase().includes(word)));
    const sets = Object.entries(KINDS).map(([kind, title]) => {
      const own = fits.slice(0, OFFERED).map(column).filter((c) => c?.kind === kind);
      if (!own.length) return "";
      const set = document.createElement("fieldset");
      const legend = document.createElement("legend");
      legend.className = "label";
      legend.textContent = title;
      set.append(legend, ...own.map((c) => choice(kind, c.key, c.name, shown.includes(c.key), pins.includes(c.key))));
      return set;
    });
    const note = document.createElement("p");
    note.className = "muted";
    if (!fits.length) note.textContent = "No column has this in its name.";
    else if (fits.length > OFFERED) note.textContent = `${count(fits.length - OFFERED)} more: search for them.`;
    list.replaceChildren(...sets, ...(note.textContent ? [note] : []));
  };

  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    search.focus();
    if (!all.length) {
      const answer = await fetch(url, { headers: { accept: "application/json" } }).catch(() => null);
      if (answer?.ok) all = known(await answer.json());
      if (!all.length) return;
      told.known(all);
    }
    draw();
  });
  search.addEventListener("input", draw);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault();
  });
  list.addEventListener("change", (event) => {
    const { name, value, checked } = event.target;
    told.choose(name, value, checked);
    // A pinned column is shown.
    if (name === "pin" && checked) event.target.closest(".choice").querySelector("[name=col]").checked = true;
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.querySelector(".panel-end a").addEventListener("click", (event) => {
    event.preventDefault();
    told.choose("default");
    draw();
  });
}
