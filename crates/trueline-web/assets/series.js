// What is done with the points of a series before they are drawn. Pure functions, no page.

// Beyond this a number stands for an infinity: the server keeps those as the greatest finite numbers, as MLflow does.
const GREATEST = Number.MAX_VALUE;

// What a point is: "number", "nan", "inf" or "-inf". JSON has no NaN; the server sends null for it.
export function kind(value) {
  if (value == null || Number.isNaN(value)) return "nan";
  if (value >= GREATEST) return "inf";
  return value <= -GREATEST ? "-inf" : "number";
}

// An exponential moving average without the pull towards zero at its beginning, as TensorBoard and W&B draw it:
// m = w·m + (1 − w)·x, divided by 1 − wⁿ. The division is the bias correction of Adam's moments (Kingma and Ba, 2015,
// arXiv:1412.6980, section 3). What is no number leaves a gap and is not averaged in.
export function smoothed(values, weight) {
  let mean = 0;
  let left = 1;
  return values.map((value) => {
    if (kind(value) !== "number") return null;
    mean = weight * mean + (1 - weight) * value;
    left *= weight;
    return mean / (1 - left);
  });
}

// Where each point lies on the axis: its step, its time, or the seconds since `origin` (else since the first point).
export function places(points, axis, origin) {
  if (axis === "step") return points.map((p) => p.step);
  const times = points.map((p) => Date.parse(p.at));
  if (axis === "time") return times;
  const from = origin ?? times.reduce((least, at) => Math.min(least, at), Infinity);
  return times.map((at) => (at - from) / 1000);
}

// The numbers that a scale can show, null for the others, and how many numbers it can't show.
export function shown(values, scale) {
  let lost = 0;
  const drawn = values.map((value) => {
    if (kind(value) !== "number") return null;
    if (scale === "log" && value <= 0) {
      lost += 1;
      return null;
    }
    return value;
  });
  return { drawn, lost };
}

// What is no number, each with the level at which its mark is drawn: a NaN at the last number before it (TensorBoard
// does so), the infinities at the edges of what is drawn.
export function marks(values, drawn) {
  const numbers = drawn.filter((value) => value != null);
  if (!numbers.length) return [];
  const least = numbers.reduce((a, b) => Math.min(a, b));
  const greatest = numbers.reduce((a, b) => Math.max(a, b));
  const found = [];
  let last = numbers[0];
  values.forEach((value, index) => {
    const what = kind(value);
    if (drawn[index] != null) last = drawn[index];
    if (what !== "number") found.push({ index, what, level: { nan: last, inf: greatest, "-inf": least }[what] });
  });
  return found;
}

// Lines as CSV, a row for each point.
export function csv(lines) {
  const field = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const words = { nan: "NaN", inf: "Infinity", "-inf": "-Infinity" };
  const row = (line, p) => [field(line.name), p.step, p.at, words[kind(p.value)] ?? p.value].join(",");
  const rows = lines.flatMap((line) => line.points.map((p) => row(line, p)));
  return ["series,step,time,value", ...rows, ""].join("\r\n");
}

// Seconds by their two largest units: "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h".
export function span(seconds) {
  const sign = seconds < 0 ? "−" : "";
  const s = Math.abs(seconds);
  const pair = (whole, unit, rest, small) => `${sign}${whole} ${unit}${rest ? ` ${rest} ${small}` : ""}`;
  if (s < 60) return `${sign}${Math.round(s * 10) / 10} s`;
  if (s < 3600) return pair(Math.floor(s / 60), "min", Math.floor(s % 60), "s");
  if (s < 86400) return pair(Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min");
  return pair(Math.floor(s / 86400), "d", Math.floor((s % 86400) / 3600), "h");
}
