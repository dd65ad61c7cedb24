// Numbers, durations, times and states in the words of src/format.rs and src/parts.rs, so that a row reads the same
// whether the server or the module of the table has written it.

export const MISSING = "–";
/** The name of SVG's elements, as those of the page have it. */
export const SVG = document.querySelector("svg").namespaceURI;

function grouped(text) {
  const sign = text.startsWith("-") ? "-" : "";
  const [whole, fraction] = text.slice(sign.length).split(".");
  const head = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+$)/g, ",") : whole;
  return sign + head + (fraction === undefined ? "" : `.${fraction}`);
}

const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
const minus = (text) => text.replaceAll("-", "−");

/** A number with up to six significant digits. */
export function number(value) {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e12) return minus(grouped(value.toFixed(0)));
  const [mantissa, power] = value.toExponential(5).split("e");
  const places = Number(power);
  if (places >= -4 && places < 12) return minus(grouped(trimmed(value.toFixed(Math.max(0, 5 - places)))));
  return minus(`${trimmed(mantissa)}e${places}`);
}

export const count = (value) => grouped(String(value));

/** A duration by its two largest units. */
export function duration(ms) {
  const of = (size, unit, small, smallUnit) => {
    const rest = Math.floor((ms % size) / small);
    return `${Math.floor(ms / size)} ${unit}${rest ? ` ${rest} ${smallUnit}` : ""}`;
  };
  if (ms < 1000) return `${ms} ms`;
  if (ms < 60_000) return `${Math.floor(ms / 1000)}.${Math.floor((ms % 1000) / 100)} s`;
  if (ms < 3_600_000) return of(60_000, "min", 1000, "s");
  if (ms < 86_400_000) return of(3_600_000, "h", 60_000, "min");
  return of(86_400_000, "d", 3_600_000, "h");
}

/** How long ago, by the largest unit. */
export function relative(at, now) {
  const s = Math.floor(Math.abs(now - at) / 1000);
  if (s < 10) return "just now";
  const steps = [[60, 1, "s"], [3600, 60, "min"], [86_400, 3600, "h"], [5_184_000, 86_400, "d"], [63_072_000, 2_629_800, "mo"]];
  const [, size, unit] = steps.find(([below]) => s < below) ?? [0, 31_557_600, "y"];
  const span = `${Math.floor(s / size)} ${unit}`;
  return now >= at ? `${span} ago` : `in ${span}`;
}

export const absolute = (at) => `${new Date(at).toISOString().slice(0, 19).replace("T", " ")} UTC`;

const STATES = {
  FINISHED: ["good", "check-circle", "Finished"],
  RUNNING: ["busy", "spin", "Running"],
  SCHEDULED: ["wait", "clock", "Scheduled"],
  FAILED: ["bad", "x-circle", "Failed"],
  KILLED: ["warn", "warn", "Stopped"],
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "use"));
  turnIcon(svg, name);
  return svg;
}

export const turnIcon = (svg, name) => svg.firstChild.setAttribute("href", `#i-${name}`);

/** The state of a run: tone, icon and word. */
export const state = (word) => STATES[word] ?? ["quiet", "circle", word.charAt(0) + word.slice(1).toLowerCase()];

const NUMERIC = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const UNFINITE = { NaN, Infinity, "-Infinity": -Infinity };

/** What a value of a column reads: its text, what it is in full, and whether it stands as a number. */
export function cell(kind, value) {
  if (value === null || value === undefined) return { text: MISSING, missing: true };
  if (typeof value === "number") return { text: number(value), title: String(value), numeric: true };
  if (kind === "metrics" && value in UNFINITE) return { text: number(UNFINITE[value]), title: value, numeric: true };
  if (kind === "params" && NUMERIC.test(value)) return { text: number(Number(value)), title: value, numeric: true };
  return { text: value, title: value };
}
