// What all drawings of compared runs share: elements of SVG, axes, colours by a number. Colours are those of the style sheet,
// so that the theme changes them without a new drawing.

import { number, SVG } from "./cells.js";

export const HEIGHT = 416;

/** An element of SVG with attributes and children; `style` goes through the object model, as the content policy wants. */
export function el(name, { style, ...attributes } = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  Object.assign(node.style, style);
  node.append(...children);
  return node;
}

// Steps of 1, 2 or 5 times a power of ten, about `n` of them.
function step(span, n) {
  const raw = span / n;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
}

export function ticks(low, high, n) {
  if (!(high > low)) return [low];
  const by = step(high - low, n);
  const first = Math.ceil(low / by - 1e-9);
  const last = Math.floor(high / by + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * by).toPrecision(12)));
}

// The powers of ten between two of them.
function powers(start, end) {
  const first = Math.ceil(start - 1e-9);
  return Array.from({ length: Math.floor(end + 1e-9) - first + 1 }, (_, i) => 10 ** (first + i));
}

// From this ratio of the greatest to the least on, an axis is logarithmic; it says so.
const ORDERS = 500;

const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** Numbers along a line from `from` to `to`; text stands at places of its own. Answers `at(value)`, and labels with places. */
export function scale(values, from, to, n = 5) {
  const there = values.filter((value) => value !== null && value !== undefined);
  if (there.length && there.every(isNumber)) {
    let [low, high] = there.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
    if (low === high) [low, high] = [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
    // What spans orders of magnitude, as learning rates do, would otherwise lie in one place.
    const log = low > 0 && high / low >= ORDERS;
    const [bend, start, end] = log ? [Math.log10, Math.log10(low), Math.log10(high)] : [(v) => v, low, high];
    const at = (value) => (isNumber(value) ? from + ((bend(value) - start) / (end - start)) * (to - from) : null);
    const marks = log ? powers(start, end) : ticks(low, high, n);
    return { at, log, labels: marks.map((v) => ({ text: number(v), at: at(v) })) };
  }
  const words = [...new Set(there.map(String))].sort();
  const at = (value) => {
    const place = words.indexOf(String(value));
    return place < 0 ? null : from + ((place + 0.5) / words.length) * (to - from);
  };
  return { at, words, labels: words.map((text) => ({ text, at: at(text) })) };
}

/** The colour of a number between two: from the first colour of the series to the second. */
export function colours(values) {
  const numbers = values.filter(isNumber);
  const [low, high] = numbers.reduce(([l, h], v) => [Math.min(l, v), Math.max(h, v)], [Infinity, -Infinity]);
  const of = (value) => {
    if (!numbers.length) return "var(--c1)";
    if (!isNumber(value)) return "var(--muted)";
    const share = high > low ? (value - low) / (high - low) : 0.5;
    return `color-mix(in oklab, var(--c2) ${(share * 100).toFixed(1)}%, var(--c1))`;
  };
  return { of, low, high, any: numbers.length > 0 };
}

/** The bar that tells what colours mean. */
export function legend(name, scaleOf, right) {
  if (!scaleOf.any) return "";
  const wide = 120;
  const parts = Array.from({ length: 24 }, (_, i) => {
    const value = scaleOf.low + ((i + 0.5) / 24) * (scaleOf.high - scaleOf.low);
    return el("rect", { x: right - wide + i * 5, y: 4, width: 5, height: 8, style: { fill: scaleOf.of(value) } });
  });
  const text = (words, x, anchor, kind = "") => el("text", { x, y: 24, "text-anchor": anchor, class: kind }, words);
  return el("g", {}, ...parts, text(number(scaleOf.low), right - wide, "start"), text(number(scaleOf.high), right, "end"), el("text", { x: right - wide - 8, y: 12, "text-anchor": "end", class: "name" }, name));
}

/** A text that is cut where there is no room for it; all of it on hover. */
export function cut(words, most, attributes) {
  const short = words.length > most ? `${words.slice(0, Math.max(most - 1, 1))}…` : words;
  return el("text", attributes, short, el("title", {}, words));
}

/** The name of an axis. */
export const named = (name, { log }) => (log ? `${name}, log` : name);

/** Two axes with their names and lines, for what lies in the plane. */
export function plane(width, xs, ys, names) {
  const box = { left: 64, right: width - 16, top: 40, bottom: HEIGHT - 44 };
  const x = scale(xs, box.left + 12, box.right - 12, Math.max(2, Math.floor(width / 110)));
  const y = scale(ys, box.bottom - 12, box.top + 8, 6);
  const lines = [
    ...x.labels.flatMap((t) => [
      el("line", { class: "grid", x1: t.at, x2: t.at, y1: box.top, y2: box.bottom }),
      el("text", { x: t.at, y: box.bottom + 16, "text-anchor": "middle" }, t.text),
    ]),
    ...y.labels.flatMap((t) => [
      el("line", { class: "grid", x1: box.left, x2: box.right, y1: t.at, y2: t.at }),
      el("text", { x: box.left - 8, y: t.at + 4, "text-anchor": "end" }, t.text),
    ]),
    el("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }),
    el("line", { class: "axis", x1: box.left, x2: box.left, y1: box.top, y2: box.bottom }),
    el("text", { x: (box.left + box.right) / 2, y: HEIGHT - 8, "text-anchor": "middle", class: "name" }, named(names.x, x)),
    cut(named(names.y, y), 40, { x: 4, y: 24, class: "name" }),
  ];
  return { x, y, box, axes: el("g", {}, ...lines) };
}

/** What leads to a run: a link around its mark, which is not a stop of the tab key since the table of values has one. */
export function toRun(run, url, ...marks) {
  return el("a", { href: url + encodeURIComponent(run.id), tabindex: "-1", "aria-label": run.name, "data-run": run.id }, ...marks);
}
