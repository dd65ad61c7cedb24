// A point for each run: two numbers, and a third as its colour.

import { colours, el, legend, plane, toRun } from "./compare-axes.js";

export function dots(runs, { x, y, z }, flat, heights, url) {
  return runs.flatMap((run) => {
    const [left, top] = [flat.x.at(run.of(x)), flat.y.at(run.of(y))];
    if (left === null || top === null) return [];
    return [toRun(run, url, el("circle", { class: "dot", cx: left, cy: top, r: 5, style: { fill: heights.of(z ? run.of(z) : null) } }))];
  });
}

export function scatter(runs, chosen, width, url) {
  const { x, y, z } = chosen;
  const flat = plane(width, runs.map((r) => r.of(x)), runs.map((r) => r.of(y)), chosen);
  const heights = colours(z ? runs.map((r) => r.of(z)) : []);
  const marks = dots(runs, chosen, flat, heights, url);
  return {
    title: `${y} over ${x}`,
    told: `${marks.length} of ${runs.length} runs have both${z ? `; colours tell ${z}` : ""}.`,
    parts: [flat.axes, ...marks, legend(z, heights, width - 16)],
  };
}
