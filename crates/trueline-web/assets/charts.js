// Draws `figure[data-chart]`: fetches the points of each series from its URL and hands them to ECharts.
// The shape of an answer is told at `ChartSeries` in src/pages/run.rs.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const COLOURS = 7;

// light-dark() is resolved by the browser where a property is used, so a probe tells the colour.
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);
function colour(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 6 });
const number = (value) => (value == null ? "–" : digits.format(value));
const clock = (at) => new Date(at).toISOString().replace("T", " ").slice(0, 19) + " UTC";

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

function option(figure, lines) {
  const byTime = figure.dataset.axis === "time";
  const x = (p) => (byTime ? Date.parse(p.at) : p.step);
  const unit = figure.dataset.unit;
  const muted = colour("--muted");
  const grid = colour("--line");
  const text = { color: muted, fontSize: 11, fontFamily: css("--font") };
  const markers = lines.flatMap((l) => l.markers ?? []);
  const bands = lines.flatMap((l) => l.bands ?? []);
  const few = lines.some((l) => l.points.length <= 40);
  return {
    animation: !still,
    animationDuration: 200,
    color: Array.from({ length: COLOURS }, (_, i) => colour(`--c${i + 1}`)),
    textStyle: text,
    grid: { left: 8, right: 20, top: (lines.length > 1 ? 40 : 20) + (markers.length > 1 ? 14 : 0), bottom: 4, outerBoundsMode: "same", outerBoundsContain: "all" },
    legend: lines.length > 1 ? { type: "scroll", top: 0, left: 0, icon: "roundRect", itemWidth: 14, itemHeight: 3, textStyle: { ...text, color: colour("--text") } } : undefined,
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
      axisPointer: { type: "line", lineStyle: { color: muted, type: "dashed" } },
      formatter: (items) => {
        const head = byTime ? clock(items[0].value[0]) : `Step ${number(items[0].value[0])}`;
        return [head, ...items.map((i) => `${lines.length > 1 ? `${i.seriesName}  ` : ""}${number(i.value[1])}${unit ? ` ${unit}` : ""}`)].join("\n");
      },
    },
    xAxis: {
      type: byTime ? "time" : "value",
      name: byTime ? "time, UTC" : "step",
      minInterval: byTime ? undefined : 1,
      nameLocation: "middle",
      nameGap: 22,
      nameTextStyle: text,
      min: "dataMin",
      max: "dataMax",
      axisLine: { lineStyle: { color: colour("--line-strong") } },
      axisLabel: { ...text, hideOverlap: true, formatter: byTime ? { year: "{yyyy}", month: "{d} {MMM} {yyyy}", day: "{d} {MMM}" } : undefined },
      splitLine: { show: false },
    },
    yAxis: {
      type: "value",
      scale: true,
      axisLabel: { ...text, formatter: (v) => number(v) },
      splitLine: { lineStyle: { color: grid } },
    },
    dataZoom: [{ type: "inside", filterMode: "none", zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false }],
    series: lines.map((line, index) => ({
      type: "line",
      name: line.name,
      data: line.points.map((p) => [x(p), p.value]),
      showSymbol: few && !line.isLevel,
      symbol: ["circle", "rect", "triangle", "diamond"][index % 4],
      symbolSize: 6,
      connectNulls: false,
      color: line.isLevel ? muted : undefined,
      lineStyle: line.isLevel ? { width: 1, type: "dashed" } : { width: 1.75, type: ["solid", "dashed", "dotted"][Math.floor(index / COLOURS) % 3] },
      emphasis: { disabled: true },
      // Where an alert fired the ground is tinted; the first says what the tint means.
      markArea: index === 0 && bands.length ? {
        silent: true,
        itemStyle: { color: colour("--warn"), opacity: 0.14 },
        label: { ...text, position: "insideBottomLeft" },
        data: bands.map((b, i) => [{ name: i ? "" : "alert", xAxis: Date.parse(b.from) }, { xAxis: Date.parse(b.to) }]),
      } : undefined,
      markLine: index === 0 && markers.length ? {
        symbol: "none",
        silent: true,
        lineStyle: { color: muted, type: "dashed", width: 1 },
        label: { ...text, formatter: (m) => m.name, position: "end", rotate: 0, distance: 3 },
        // Neighbours stand on two lines, so that they can be read.
        data: markers.map((m, i) => ({ name: m.label, xAxis: x(m), label: { distance: i % 2 ? 16 : 3, align: i ? undefined : "left" } })),
      } : undefined,
    })),
  };
}

// A line of one point says less than its number.
function tellLonePoints(note, lines) {
  const told = lines.map((line) => {
    const part = document.createElement("span");
    const value = document.createElement("strong");
    value.textContent = number(line.points[0].value);
    const about = lines.length > 1 ? `${line.name}, logged once` : `logged once, at step ${line.points[0].step}`;
    part.append(value, about);
    return part;
  });
  note.replaceChildren(...told);
  note.classList.add("lone");
}

async function draw(figure) {
  const plot = figure.querySelector(".plot");
  const note = figure.querySelector(".plot-note");
  note.textContent = "Loading points";
  let lines;
  try {
    lines = withLevels(await Promise.all(JSON.parse(figure.dataset.series).map(load)));
  } catch (error) {
    note.textContent = `The points can't be shown. ${error.message}. Reload the page to try again.`;
    return;
  }
  if (lines.every((line) => !line.points.length)) {
    note.textContent = "No point was logged.";
    return;
  }
  if (lines.every((line) => line.points.length === 1 && !line.isLevel)) {
    tellLonePoints(note, lines);
    return;
  }
  note.hidden = true;
  const chart = echarts.init(plot, null, { renderer: "canvas" });
  chart.group = "page";
  chart.setOption(option(figure, lines));
  new ResizeObserver(() => chart.resize()).observe(plot);
  const repaint = () => chart.setOption(option(figure, lines), true);
  document.addEventListener("theme", repaint);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  const png = figure.querySelector("[data-png]");
  png.hidden = false;
  png.addEventListener("click", () => {
    const link = document.createElement("a");
    link.download = `${figure.dataset.title}.png`;
    link.href = chart.getDataURL({ pixelRatio: 2, backgroundColor: colour("--surface") });
    link.click();
  });
}

// Only what is seen is fetched; the rest follows when it is scrolled to.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((e) => e.isIntersecting)) {
    seen.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "200px" });
for (const figure of document.querySelectorAll("[data-chart]")) {
  figure.querySelector(".plot-note").textContent = "Drawn when it is scrolled to";
  seen.observe(figure);
}
// Charts of one page share their cross-hair and zoom.
echarts.connect("page");
