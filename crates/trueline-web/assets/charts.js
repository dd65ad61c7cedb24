// Draws `figure[data-chart]`: fetches the points of each series from its URL and hands them to ECharts. The shape of an
// answer is told at `ChartSeries` in src/pages/charts.rs. A container with `data-scale`, `data-smooth`, `data-axis` or
// `data-origin` says how all charts in it are drawn; `redraw` follows a change of these, `refresh` a change of points.
// Dragging over a chart zooms all of the page, a double click shows all again; the address says where they are zoomed to.

import { csv, kind, marks, places, shown, smoothed, span } from "./series.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const COLOURS = 7;
// So many numbers that were logged once are told; of more lines they are dots.
const MOST_TOLD = 6;

// light-dark() is resolved by the browser where a property is used, so a probe tells the colour.
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);
export function colour(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

// The colours of series, in the order in which they are used.
export const palette = () => Array.from({ length: COLOURS }, (_, i) => colour(`--c${i + 1}`));

const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
export const number = (value) => {
  const words = { nan: "NaN", inf: "∞", "-inf": "−∞" };
  if (value === undefined) return "–";
  return words[kind(value)] ?? digits.format(value);
};
export const clock = (at) => new Date(at).toISOString().replace("T", " ").slice(0, 19) + " UTC";

async function load(line) {
  const answer = await fetch(line.url, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${line.name}: the server answered ${answer.status}`);
  return { ...line, ...(await answer.json()) };
}

// The level at which a number alarms is a line of its own, so that the axis makes room for it.
function withLevels(lines) {
  return lines.flatMap((line) => {
    if (line.level == null || !line.points.length) return [line];
    const ends = [line.points[0], line.points.at(-1)].map((p) => ({ ...p, value: line.level }));
    return [line, { name: `alarms at ${number(line.level)}`, points: ends, isLevel: true }];
  });
}

// How a figure is to be drawn: what its container says, else what it says itself.
function choices(figure) {
  const around = figure.closest("[data-scale], [data-smooth]")?.dataset ?? {};
  const origin = Number.parseInt(around.origin ?? "", 10);
  return {
    axis: around.axis ?? figure.dataset.axis ?? "step",
    scale: around.scale === "log" ? "log" : "linear",
    weight: Math.min(Math.max(Number.parseFloat(around.smooth) || 0, 0), 0.999),
    origin: Number.isFinite(origin) ? origin : undefined,
    unit: figure.dataset.unit,
  };
}

const AXES = {
  step: { type: "value", name: "step", minInterval: 1, head: (x) => `Step ${number(x)}` },
  time: { type: "time", name: "time, UTC", head: clock },
  relative: { type: "value", name: "time since the start", head: (x) => span(x) },
};
const TIME_LABELS = { year: "{yyyy}", month: "{d} {MMM} {yyyy}", day: "{d} {MMM}" };
const MARKS = { nan: { symbol: "triangle" }, inf: { symbol: "arrow" }, "-inf": { symbol: "arrow", symbolRotate: 180 } };

// A line as it is drawn: where its points lie, what of them can be shown, smoothed or not, and what is no number.
function prepared(line, chosen) {
  const values = line.points.map((p) => p.value);
  const x = places(line.points, chosen.axis, chosen.origin);
  const { drawn, lost } = shown(values, chosen.scale);
  const even = chosen.weight && !line.isLevel ? smoothed(drawn, chosen.weight) : null;
  return { ...line, x, values, drawn, lost, even, marks: marks(values, drawn) };
}

const small = () => ({ color: colour("--muted"), fontSize: 11, fontFamily: css("--font") });

// What all drawings have in common: `top` is the room above, `lost` how many values the scale can't show.
function frame({ scale }, top, lost) {
  const text = small();
  return {
    animation: !still,
    animationDuration: 200,
    textStyle: text,
    grid: { left: 8, right: 20, top, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "all" },
    aria: { enabled: true },
    // Rich text draws on the canvas: HTML would need inline styles, which the content policy forbids.
    tooltip: {
      trigger: "axis",
      renderMode: "richText",
      confine: true,
      transitionDuration: 0,
      backgroundColor: colour("--surface"),
      borderColor: colour("--line-strong"),
      borderWidth: 1,
      padding: 8,
      textStyle: { color: colour("--text"), fontSize: 12, fontFamily: css("--font") },
      axisPointer: { type: "line", lineStyle: { color: text.color, type: "dashed" } },
    },
    xAxis: {
      nameLocation: "middle",
      nameTextStyle: text,
      axisLine: { onZero: false, lineStyle: { color: colour("--line-strong") } },
      splitLine: { show: false },
    },
    yAxis: {
      type: scale === "log" ? "log" : "value",
      scale: true,
      // What a logarithm can't show is said, not dropped in silence.
      name: lost ? `${digits.format(lost)} of 0 or less not drawn` : undefined,
      nameTextStyle: { ...text, align: "left" },
      nameGap: 6,
      axisLabel: { ...text, formatter: (v) => number(v) },
      splitLine: { lineStyle: { color: colour("--line") } },
    },
  };
}

// Many lines of one point each: a dot for each, side by side.
function dots(figure, lines) {
  const chosen = choices(figure);
  const values = lines.map((line) => line.points[0].value);
  const { drawn, lost } = shown(values, chosen.scale);
  const base = frame(chosen, 20, lost);
  const colours = palette();
  const suffix = chosen.unit ? ` ${chosen.unit}` : "";
  const strange = marks(values, drawn).map((m) => ({ value: [m.index, m.level], ...MARKS[m.what] }));
  const tell = ([{ value: [at] }]) => `${lines[at].name}\n${number(values[at])}${suffix}`;
  return {
    ...base,
    tooltip: { ...base.tooltip, formatter: tell },
    xAxis: {
      ...base.xAxis,
      type: "category",
      data: lines.map((line) => line.name),
      name: `${lines.length} runs, each logged once`,
      nameGap: 10,
      axisLabel: { show: false },
      axisTick: { show: false },
    },
    series: [
      { type: "scatter", symbolSize: 7, color: colours[0], data: drawn.map((value, at) => [at, value]) },
      // What is no number has a mark where the line would break off.
      { type: "scatter", symbolSize: 9, itemStyle: { color: colour("--surface"), borderColor: colours[0], borderWidth: 1.5 }, data: strange },
    ],
  };
}

function option(figure, loaded) {
  const chosen = choices(figure);
  const axis = AXES[chosen.axis];
  const lines = loaded.map((line) => prepared(line, chosen));
  const { unit } = chosen;
  const text = small();
  const muted = text.color;
  const colours = palette();
  const markers = lines.flatMap((l) => l.markers ?? []);
  const bands = lines.flatMap((l) => l.bands ?? []);
  const few = lines.some((l) => l.points.length <= 40);
  const lost = lines.reduce((sum, line) => sum + line.lost, 0);
  const markerX = (m) => places([m], chosen.axis, chosen.origin)[0];
  const own = lines.flatMap((line, index) => seriesOf(line, index, { chosen, colours, muted, few }));
  if (own.length && bands.length) {
    // Where an alert fired the ground is tinted; the first says what the tint means.
    own[0].markArea = {
      silent: true,
      itemStyle: { color: colour("--warn"), opacity: 0.14 },
      label: { ...text, position: "insideBottomLeft" },
      data: bands.map((b, i) => [{ name: i ? "" : "alert", xAxis: Date.parse(b.from) }, { xAxis: Date.parse(b.to) }]),
    };
  }
  if (own.length && markers.length) {
    own[0].markLine = {
      symbol: "none",
      silent: true,
      lineStyle: { color: muted, type: "dashed", width: 1 },
      label: { ...text, formatter: (m) => m.name, position: "end", rotate: 0, distance: 3 },
      // Neighbours stand on two lines, so that they can be read.
      data: markers.map((m, i) => ({ name: m.label, xAxis: markerX(m), label: { distance: i % 2 ? 16 : 3, align: i ? undefined : "left" } })),
    };
  }
  const base = frame(chosen, (lines.length > 1 ? 40 : 20) + (markers.length > 1 ? 14 : 0), lost);
  const named = { ...text, color: colour("--text"), lineHeight: 16 };
  return {
    ...base,
    color: colours,
    legend: lines.length > 1 ? { type: "scroll", top: 0, left: 0, icon: "roundRect", itemWidth: 14, itemHeight: 3, data: lines.map((l) => l.name), textStyle: named } : undefined,
    tooltip: { ...base.tooltip, formatter: (items) => told(items, own, lines, axis, unit) },
    xAxis: {
      ...base.xAxis,
      type: axis.type,
      name: axis.name,
      minInterval: axis.minInterval,
      nameGap: 22,
      min: "dataMin",
      max: "dataMax",
      axisLabel: { ...text, hideOverlap: true, formatter: { time: TIME_LABELS, relative: (v) => span(v) }[chosen.axis] },
    },
    dataZoom: [{ type: "inside", filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, moveOnMouseMove: "shift", ...zoom }],
    // What drags a stretch out is a tool, whose icon nobody needs.
    toolbox: { itemSize: 0, showTitle: false, feature: { dataZoom: { yAxisIndex: "none", filterMode: "none", brushStyle: { color: colour("--line-strong"), opacity: 0.3 } } } },
    series: own,
  };
}

// The series that a line is made of: itself, what it was before it was smoothed, and marks for what is no number. Each
// point carries the index that it has in the line.
function seriesOf(line, index, { chosen, colours, muted, few }) {
  const own = line.isLevel ? muted : colours[index % COLOURS];
  const shape = line.isLevel ? { width: 1, type: "dashed" } : { width: 1.75, type: ["solid", "dashed", "dotted"][Math.floor(index / COLOURS) % 3] };
  const base = { type: "line", connectNulls: false, color: own, emphasis: { disabled: true } };
  const data = (values) => values.map((value, at) => [line.x[at], value, at]);
  const made = [{
    ...base,
    name: line.name,
    data: data(line.even ?? line.drawn),
    line: index,
    showSymbol: few && !line.isLevel && !line.even,
    symbol: ["circle", "rect", "triangle", "diamond"][index % 4],
    symbolSize: 6,
    lineStyle: shape,
  }];
  if (line.even) {
    made.push({ ...base, name: `${line.name} as logged`, data: data(line.drawn), showSymbol: false, silent: true, z: 1, lineStyle: { ...shape, width: 1, opacity: 0.3 }, tooltip: { show: false } });
  }
  if (line.marks.length) {
    made.push({
      type: "scatter",
      name: `${line.name}, no numbers`,
      line: index,
      color: own,
      symbolSize: 9,
      itemStyle: { color: chosen.scale === "log" ? own : colour("--surface"), borderColor: own, borderWidth: 1.5 },
      data: line.marks.map((m) => ({ value: [line.x[m.index], m.level, m.index], ...MARKS[m.what] })),
    });
  }
  return made;
}

// What the tooltip says of the points under the cross-hair: of each line once, and rather of a number than of a mark.
function told(items, own, lines, axis, unit) {
  const said = new Map();
  for (const item of items) {
    const line = lines[own[item.seriesIndex]?.line];
    const at = item.value[2];
    if (!line || (said.has(line) && line.drawn[said.get(line)] != null)) continue;
    said.set(line, at);
  }
  const suffix = unit ? ` ${unit}` : "";
  const one = ([line, at]) => {
    const raw = `${number(line.values[at])}${suffix}`;
    const value = line.even?.[at] != null ? `${number(line.even[at])}${suffix}, logged ${raw}` : raw;
    return `${lines.length > 1 ? `${line.name}  ` : ""}${value}`;
  };
  return [axis.head(items[0].value[0]), ...[...said].map(one)].join("\n");
}

// A line of one point says less than its number.
function tellLonePoints(note, lines) {
  const parts = lines.map((line) => {
    const part = document.createElement("span");
    const value = document.createElement("strong");
    value.textContent = number(line.points[0].value);
    const about = lines.length > 1 ? `${line.name}, logged once` : `logged once, at step ${line.points[0].step}`;
    part.append(value, about);
    return part;
  });
  note.replaceChildren(...parts);
  note.classList.add("lone");
}

// What is known of each figure: its lines once they have come, its chart once it is drawn, whether it is in view, and
// whether there are newer points than those that it shows.
const known = new WeakMap();

function note(figure, text) {
  const line = figure.querySelector(".plot-note");
  line.classList.remove("lone", "told");
  line.textContent = text;
  line.hidden = !text;
}

function why(lines, scale) {
  if (lines.every((line) => !line.points.length)) return "No point was logged.";
  const all = lines.filter((line) => !line.isLevel).flatMap((line) => line.points.map((p) => p.value));
  if (all.length === 1) return "";
  if (!all.some((value) => kind(value) === "number")) return `All ${all.length} values are NaN or infinite.`;
  if (scale === "log" && !shown(all, scale).drawn.some((value) => value != null)) return "No value is above 0, which a log scale needs.";
  return "";
}

async function draw(figure) {
  const state = known.get(figure);
  state.stale = false;
  if (!state.lines) note(figure, "Loading points");
  try {
    state.lines = withLevels(await Promise.all(JSON.parse(figure.dataset.series).map(load)));
  } catch (error) {
    if (!state.chart) note(figure, `The points can't be shown. ${error.message}. Reload the page to try again.`);
    state.stale = true;
    return;
  }
  tellLast(figure, state.lines);
  paint(figure);
}

// The newest value beside the title follows the points.
function tellLast(figure, lines) {
  const last = figure.querySelector(".last");
  const point = lines.length === 1 ? lines[0].points.at(-1) : undefined;
  if (last && point) last.textContent = number(point.value);
}

// Draws the points that are at hand.
function paint(figure) {
  const state = known.get(figure);
  if (!state?.lines) return;
  const { lines } = state;
  const reason = why(lines, choices(figure).scale);
  const lone = lines.every((line) => line.points.length === 1 && !line.isLevel);
  if (reason || (lone && lines.length <= MOST_TOLD)) {
    state.chart?.dispose();
    state.chart = undefined;
    note(figure, reason || " ");
    if (reason) figure.querySelector(".plot-note").classList.add("told");
    else tellLonePoints(figure.querySelector(".plot-note"), lines);
    return;
  }
  note(figure, "");
  if (!state.chart) furnish(figure, state);
  // Runs side by side are no stretch of an axis that others have, too.
  state.chart.group = lone ? undefined : "page";
  state.chart.setOption(lone ? dots(figure, lines) : option(figure, lines), true);
  if (!lone) state.chart.dispatchAction({ type: "takeGlobalCursor", key: "dataZoomSelect", dataZoomSelectActive: true });
  figure.dataset.points = lines.reduce((sum, line) => sum + line.points.length, 0);
}

function furnish(figure, state) {
  const plot = figure.querySelector(".plot");
  state.chart = echarts.init(plot, null, { renderer: "canvas" });
  // The others follow it and tell the same, each in its own range.
  state.chart.on("datazoom", () => plot.matches(":hover") && zoomTo(state.chart.getOption().dataZoom[0]));
  state.chart.getZr().on("dblclick", zoomOut);
  if (state.furnished) return;
  state.furnished = true;
  new ResizeObserver(() => state.chart?.resize()).observe(plot);
  offer(figure, "png", () => state.chart?.getDataURL({ pixelRatio: 2, backgroundColor: colour("--surface") }));
  offer(figure, "csv", () => `data:text/csv;charset=utf-8,${encodeURIComponent(csv(state.lines.filter((line) => !line.isLevel)))}`);
}

// Lets a button of a figure save what it shows; `made` tells the address of the file.
function offer(figure, type, made) {
  const button = figure.querySelector(`[data-${type}]`);
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    const href = made();
    if (!href) return;
    const link = document.createElement("a");
    link.download = `${figure.dataset.title}.${type}`;
    link.href = href;
    link.click();
  });
}

// Where all charts of the page are zoomed to: a stretch of the axis, in its units; nothing when they show all.
const asked = (new URL(location.href).searchParams.get("zoom") ?? "").split("..").map(Number);
let zoom = asked.length === 2 && asked[0] < asked[1] ? { startValue: asked[0], endValue: asked[1] } : {};
let telling = 0;

function zoomTo({ start, end, startValue, endValue }) {
  zoom = start <= 0 && end >= 100 ? {} : { startValue, endValue };
  clearTimeout(telling);
  telling = setTimeout(tellZoom, 200);
}

function tellZoom() {
  const url = new URL(location.href);
  const round = (value) => Number(value.toPrecision(13));
  if (zoom.endValue === undefined) url.searchParams.delete("zoom");
  else url.searchParams.set("zoom", `${round(zoom.startValue)}..${round(zoom.endValue)}`);
  history.replaceState(null, "", url);
}

// Shows all again.
export function zoomOut() {
  zoom = {};
  tellZoom();
  redraw();
}

// Only what is seen is fetched; the rest follows when it is scrolled to.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const state = known.get(entry.target);
    state.inView = entry.isIntersecting;
    if (state.inView && state.stale) draw(entry.target);
  }
}, { rootMargin: "200px" });

// Draws a figure once it comes into view.
export function watch(figure) {
  if (known.has(figure)) return;
  known.set(figure, { stale: true, inView: false });
  note(figure, "Drawn when it is scrolled to");
  seen.observe(figure);
}

// Draws figures again as their container now says, from the points at hand.
export function redraw(figures = document.querySelectorAll("[data-chart]")) {
  figures.forEach(paint);
}

// There are newer points: they are fetched now if the figure is in view, else when it is.
export function refresh(figure) {
  const state = known.get(figure);
  if (!state) return;
  state.stale = true;
  if (state.inView) draw(figure);
}

const repaint = () => redraw();
document.addEventListener("theme", repaint);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
document.querySelectorAll("[data-chart]").forEach(watch);
// Charts of one page share their cross-hair and zoom.
echarts.connect("page");
