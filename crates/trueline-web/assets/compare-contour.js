// A number over two others. Between the runs it is interpolated by inverse distances, after D. Shepard, "A two-dimensional
// interpolation function for irregularly-spaced data" (1968): a place has the mean of all runs, each weighted by one over
// the square of its distance. Lines of equal height are found by marching squares on the grid of those places.

import { number } from "./cells.js";
import { colours, el, legend, plane, ticks } from "./compare-axes.js";
import { dots } from "./compare-scatter.js";

const [COLUMNS, ROWS] = [72, 40];
const LEVELS = 8;

/** The height at each place of the grid, row by row from the top; `points` as `{ x, y, z }` with x and y from 0 to 1. */
export function grid(points, columns = COLUMNS, rows = ROWS) {
  const heights = [];
  for (let row = 0; row <= rows; row += 1) {
    for (let column = 0; column <= columns; column += 1) {
      let [sum, weights] = [0, 0];
      for (const point of points) {
        const far = (point.x - column / columns) ** 2 + (point.y - row / rows) ** 2;
        // At a run the height is the run's; those at the same place share it.
        const weight = 1 / Math.max(far, 1e-9);
        sum += weight * point.z;
        weights += weight;
      }
      heights.push(sum / weights);
    }
  }
  return heights;
}

/** The pieces of the line of one height, each as `[x1, y1, x2, y2]` in units of the grid. */
export function line(heights, level, columns = COLUMNS, rows = ROWS) {
  const pieces = [];
  const at = (column, row) => heights[row * (columns + 1) + column];
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
      const values = corners.map(([c, r]) => at(c, r));
      const crossed = corners.flatMap(([c, r], i) => {
        const [a, b] = [values[i], values[(i + 1) % 4]];
        if (a < level === b < level) return [];
        const [c2, r2] = corners[(i + 1) % 4];
        const share = (level - a) / (b - a);
        return [[c + (c2 - c) * share, r + (r2 - r) * share]];
      });
      // Two lines through one square: the mean of its corners tells which sides belong together.
      if (crossed.length === 4) {
        const middle = values.reduce((sum, v) => sum + v, 0) / 4;
        if (middle < level === values[0] < level) crossed.push(crossed.shift());
      }
      for (let i = 0; i + 1 < crossed.length; i += 2) pieces.push([...crossed[i], ...crossed[i + 1]]);
    }
  }
  return pieces;
}

export function contour(runs, chosen, width, url) {
  const { x, y, z } = chosen;
  const whole = runs.filter((run) => [x, y, z].every((key) => Number.isFinite(run.of(key))));
  const flat = plane(width, whole.map((r) => r.of(x)), whole.map((r) => r.of(y)), chosen);
  const heights = colours(whole.map((r) => r.of(z)));
  const { left, right, top, bottom } = flat.box;
  const [wide, tall] = [right - left, bottom - top];
  const title = `${z} over ${x} and ${y}`;
  if (whole.length < 3) return { title, told: "", parts: [], why: "A contour needs three runs that have all three numbers." };
  const points = whole.map((run) => ({ x: (flat.x.at(run.of(x)) - left) / wide, y: (flat.y.at(run.of(y)) - top) / tall, z: run.of(z) }));
  const field = grid(points);
  const squares = [];
  for (let row = 0; row < ROWS; row += 1) {
    for (let column = 0; column < COLUMNS; column += 1) {
      const height = field[row * (COLUMNS + 1) + column];
      squares.push(el("rect", { x: left + (column / COLUMNS) * wide, y: top + (row / ROWS) * tall, width: wide / COLUMNS + 0.5, height: tall / ROWS + 0.5, style: { fill: heights.of(height) } }));
    }
  }
  const levels = ticks(heights.low, heights.high, LEVELS).filter((level) => level > heights.low && level < heights.high);
  const lines = levels.map((level) => {
    const pieces = line(field, level);
    const place = (c, r) => `${(left + (c / COLUMNS) * wide).toFixed(1)} ${(top + (r / ROWS) * tall).toFixed(1)}`;
    const path = el("path", { class: "level", d: pieces.map(([a, b, c, d]) => `M${place(a, b)}L${place(c, d)}`).join(""), style: { stroke: heights.of(level) } });
    const middle = pieces[Math.floor(pieces.length / 2)];
    const label = middle ? el("text", { class: "height", x: left + (middle[0] / COLUMNS) * wide, y: top + (middle[1] / ROWS) * tall + 4, "text-anchor": "middle" }, number(level)) : "";
    return el("g", {}, path, label);
  });
  return {
    title,
    told: `${whole.length} of ${runs.length} runs have all three. Between them the height is interpolated by inverse distance.`,
    parts: [el("g", { class: "ground" }, ...squares), flat.axes, ...lines, ...dots(whole, chosen, flat, heights, url), legend(z, heights, width - 16)],
  };
}
