// A line for each run through axes that stand side by side. A stretch of an axis that is dragged over keeps the runs that pass
// through it and dims the others.

import { colours, cut, el, HEIGHT, legend, named, scale, toRun } from "./compare-axes.js";

const [TOP, BOTTOM] = [72, HEIGHT - 16];

export function parallel(runs, { dims, z, ranges }, width, url, told) {
  const gap = dims.length > 1 ? (width - 150) / (dims.length - 1) : 0;
  const across = (i) => 70 + i * gap;
  const scales = dims.map((key) => scale(runs.map((run) => run.of(key)), BOTTOM, TOP, 6));
  const heights = colours(z ? runs.map((run) => run.of(z)) : []);
  const room = Math.max(Math.floor(gap / 7), 8);

  const lines = runs.map((run) => {
    const places = dims.map((key, i) => ({ x: across(i), y: scales[i].at(run.of(key)) }));
    // What a run has not, its line leaves out.
    let open = false;
    let path = "";
    for (const { x, y } of places) {
      if (y !== null) path += `${open ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      open = y !== null;
    }
    const link = toRun(run, url, el("path", { class: "hit", d: path }), el("path", { class: "line", d: path, style: { stroke: heights.of(z ? run.of(z) : null) } }));
    return { link, places };
  });

  const brushes = new Map();
  const passes = () => {
    let n = 0;
    for (const { link, places } of lines) {
      const inside = [...ranges].every(([key, [low, high]]) => {
        const i = dims.indexOf(key);
        if (i < 0) return true;
        const y = places[i].y;
        return y !== null && y >= low * (BOTTOM - TOP) + TOP && y <= high * (BOTTOM - TOP) + TOP;
      });
      link.classList.toggle("out", !inside);
      n += inside;
    }
    for (const [key, brush] of brushes) {
      const range = ranges.get(key);
      brush.setAttribute("y", range ? TOP + range[0] * (BOTTOM - TOP) : 0);
      brush.setAttribute("height", range ? (range[1] - range[0]) * (BOTTOM - TOP) : 0);
    }
    return n;
  };

  const axes = dims.map((key, i) => {
    const x = across(i);
    const brush = el("rect", { class: "brush", x: x - 9, width: 18 });
    brushes.set(key, brush);
    const rail = el("rect", { class: "rail", x: x - 9, y: TOP - 6, width: 18, height: BOTTOM - TOP + 12 });
    let from = null;
    const share = (event) => {
      const box = rail.getBoundingClientRect();
      return Math.min(Math.max((event.clientY - box.top - 6) / (box.height - 12), 0), 1);
    };
    rail.addEventListener("pointerdown", (event) => {
      rail.setPointerCapture(event.pointerId);
      from = share(event);
    });
    rail.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const to = share(event);
      ranges.set(key, [Math.min(from, to), Math.max(from, to)]);
      told(passes());
    });
    rail.addEventListener("pointerup", (event) => {
      // A click without a stretch takes the choice back.
      if (from !== null && Math.abs(share(event) - from) < 0.01) ranges.delete(key);
      from = null;
      told(passes(), true);
    });
    const dot = key.indexOf(".");
    const head = { x, "text-anchor": "middle" };
    return el(
      "g",
      {},
      el("line", { class: "axis", x1: x, x2: x, y1: TOP, y2: BOTTOM }),
      cut(key.slice(dot + 1), room, { ...head, y: 46, class: "name" }),
      el("text", { ...head, y: 60 }, named(key.slice(0, dot), scales[i])),
      ...scales[i].labels.slice(0, 12).map((t) => cut(t.text, room, { x: x + 8, y: t.at + 4, class: "height" })),
      brush,
      rail,
    );
  });
  const passed = passes();
  return {
    title: `${runs.length} runs through ${dims.length} axes`,
    told: passed < runs.length ? `${passed} of ${runs.length} runs pass.` : "Drag along an axis to keep the runs that pass there.",
    parts: [...lines.map((line) => line.link), ...axes, legend(z, heights, width - 16)],
    why: dims.length ? "" : "Choose the axes.",
  };
}
