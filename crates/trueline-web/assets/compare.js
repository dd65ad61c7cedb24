// Draws `figure#drawing`: many runs at once, as parallel coordinates, scatter or contour. What is drawn is chosen in the form
// above it and stands in the address; the values come from the table of runs (docs/search.md).

import { cell } from "./cells.js";
import { contour } from "./compare-contour.js";
import { el, HEIGHT } from "./compare-axes.js";
import { parallel } from "./compare-parallel.js";
import { scatter } from "./compare-scatter.js";
import { field } from "./runs-columns.js";

const figure = document.getElementById("drawing");
const form = document.getElementById("axes");
const [kind, runUrl] = [figure.dataset.kind, figure.dataset.runUrl];
const view = figure.querySelector(".field-of-view");
const note = figure.querySelector(".plot-note");
const hint = figure.querySelector(".told");
// The ranges of axes that runs must pass, as shares from the top.
const ranges = new Map(
  new URLSearchParams(location.search).getAll("range").map((text) => {
    const [low, high, ...key] = text.split("~");
    return [key.join("~"), [Number(low), Number(high)]];
  }),
);
let runs = [];
let drawn = null;

const chosen = () => {
  const data = new FormData(form);
  return { x: data.get("x"), y: data.get("y"), z: data.get("z"), dims: data.getAll("dim"), ranges };
};

function keys() {
  const { x, y, z, dims } = chosen();
  return [...new Set([...dims, x, y, z].filter(Boolean))];
}

function valueOf(key, value) {
  if (value === null || typeof value === "number") return value;
  const { numeric } = cell(key.slice(0, key.indexOf(".")), value);
  const parsed = numeric ? Number(value) : Number.NaN;
  return Number.isFinite(parsed) ? parsed : key.startsWith("metrics.") ? null : value;
}

async function load() {
  const asked = keys();
  const url = new URL(figure.dataset.rowsUrl, location.href);
  for (const key of asked) url.searchParams.append("column", field(key));
  const answer = await fetch(url, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  const { rows } = await answer.json();
  return rows.map((row) => {
    const values = new Map(asked.map((key, i) => [key, valueOf(key, row.cells[i])]));
    return { id: row.run_id, name: row.name || row.run_id, of: (key) => values.get(key) ?? null };
  });
}

function say(text) {
  note.hidden = !text;
  note.textContent = text;
  view.hidden = Boolean(text);
}

function draw() {
  const choice = chosen();
  const width = Math.max(view.clientWidth, kind === "parallel" ? 150 + choice.dims.length * 60 : 280);
  const told = (n, rested) => {
    hint.textContent = n < runs.length ? `${n} of ${runs.length} runs pass.` : "Drag along an axis to keep the runs that pass there.";
    if (rested) address();
  };
  const made = { parallel, scatter, contour }[kind](runs, choice, width, runUrl, told);
  if (made.why) {
    say(made.why);
    hint.textContent = "";
    return;
  }
  const told2 = `${made.title}. ${made.told}`;
  drawn = el("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": told2 }, ...made.parts);
  drawn.style.minWidth = `${Math.min(width, view.clientWidth < width ? width : 0)}px`;
  view.replaceChildren(drawn);
  figure.querySelector("figcaption strong").textContent = made.title;
  hint.textContent = made.told;
}

// Those who see no drawing, and those who come by keyboard, have its values and its links here.
function tell() {
  const all = keys();
  const details = document.createElement("details");
  details.className = "values";
  const summary = document.createElement("summary");
  summary.textContent = "Values";
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  for (const text of ["Run", ...all]) head.append(Object.assign(document.createElement("th"), { scope: "col", textContent: text }));
  const body = table.createTBody();
  for (const run of runs) {
    const row = body.insertRow();
    const link = Object.assign(document.createElement("a"), { href: runUrl + encodeURIComponent(run.id), textContent: run.name });
    const name = Object.assign(document.createElement("th"), { scope: "row" });
    name.append(link);
    row.append(name);
    for (const key of all) {
      const { text, numeric } = cell(key.slice(0, key.indexOf(".")), run.of(key));
      row.append(Object.assign(document.createElement("td"), { textContent: text, className: numeric ? "num" : "" }));
    }
  }
  const pane = document.createElement("div");
  Object.assign(pane, { className: "pane part", tabIndex: 0 });
  pane.setAttribute("role", "region");
  pane.setAttribute("aria-label", "Values of the drawing");
  pane.append(table);
  details.append(summary, pane);
  const old = figure.querySelector("details.values");
  details.open = old?.open ?? false;
  if (old) old.replaceWith(details);
  else figure.append(details);
}

// The choices stand in the address, and in the links that lead to other views of the same runs.
function address() {
  const own = ["x", "y", "z", "dim", "range"];
  const choose = (url) => {
    for (const key of own) url.searchParams.delete(key);
    for (const [key, value] of new FormData(form)) if (own.includes(key)) url.searchParams.append(key, value);
    for (const [key, [low, high]] of ranges) url.searchParams.append("range", `${low.toFixed(3)}~${high.toFixed(3)}~${key}`);
    return url;
  };
  history.replaceState(null, "", choose(new URL(location.href)));
  for (const link of document.querySelectorAll("#table .segments a, #drawings > .segments a, #table .pager a")) link.href = choose(new URL(link.href));
}

async function show() {
  figure.setAttribute("aria-busy", "true");
  try {
    runs = await load();
    say("");
    draw();
    tell();
    figure.dataset.drawn = kind;
  } catch (error) {
    say(`The runs can't be drawn: ${error.message}. Reload the page to try again.`);
  }
  figure.removeAttribute("aria-busy");
}

form.querySelector("button[type=submit]").hidden = true;
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("change", () => {
  const shown = form.querySelector("summary .muted");
  const { dims } = chosen();
  if (shown) shown.textContent = `${dims.length} of ${form.querySelectorAll("[name=dim]").length}`;
  for (const key of ranges.keys()) if (!dims.includes(key)) ranges.delete(key);
  address();
  show();
});

// The run under the pointer is told below the drawing, and stands out.
view.addEventListener("pointermove", (event) => {
  const link = event.target.closest?.("a[data-run]");
  for (const near of view.querySelectorAll(".near")) if (near !== link) near.classList.remove("near");
  if (!link) return;
  link.classList.add("near");
  const run = runs.find((r) => r.id === link.dataset.run);
  const values = keys().map((key) => `${key} ${cell(key.slice(0, key.indexOf(".")), run.of(key)).text}`);
  hint.textContent = `${run.name}: ${values.join(", ")}`;
});

// --- PNG: the drawing with the colours that it has now, written out.
const PAINT = ["fill", "stroke", "stroke-width", "opacity", "font-family", "font-size", "font-weight", "paint-order"];
const png = figure.querySelector("[data-png]");
png.hidden = false;
png.addEventListener("click", () => {
  if (!drawn) return;
  const copy = drawn.cloneNode(true);
  const [from, to] = [drawn, copy].map((svg) => [svg, ...svg.querySelectorAll("*")]);
  from.forEach((node, i) => {
    const style = getComputedStyle(node);
    for (const name of PAINT) to[i].style.setProperty(name, style.getPropertyValue(name));
  });
  const box = drawn.getBoundingClientRect();
  copy.setAttribute("width", box.width);
  copy.setAttribute("height", box.height);
  const picture = new Image();
  picture.addEventListener("load", () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: box.width * 2, height: box.height * 2 });
    const paper = canvas.getContext("2d");
    paper.fillStyle = getComputedStyle(figure).backgroundColor;
    paper.fillRect(0, 0, canvas.width, canvas.height);
    paper.drawImage(picture, 0, 0, canvas.width, canvas.height);
    const link = Object.assign(document.createElement("a"), { download: `${kind}.png`, href: canvas.toDataURL("image/png") });
    link.click();
  });
  picture.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
});

let wide = 0;
new ResizeObserver(() => {
  if (!runs.length || view.clientWidth === wide) return;
  wide = view.clientWidth;
  draw();
}).observe(view);
show();
