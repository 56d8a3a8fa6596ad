// A line's seeds as points, with their mean and interval, in one cell of a table.

import { s } from "./dom.js";
import { score } from "./text.js";

const WIDTH = 120;
const HEIGHT = 18;

/** From scores to places in the strip, the same for all lines of a table; null if nothing is to be seen. */
export function stripScale(board, lines) {
  const values = lines.flatMap((line) => {
    const id = board.rankedBy(line);
    const [middle, half] = [board.number(id, line), board.half(id, line) || 0];
    return [...board.scores(line), middle - half, middle + half].filter(Number.isFinite);
  });
  if (!values.length) return null;
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (high === low) return null;
  return (value) => 4 + ((WIDTH - 8) * (value - low)) / (high - low);
}

/** The strip of one line. */
export function strip(board, line, scale) {
  const id = board.rankedBy(line);
  const [middle, half] = [board.number(id, line), board.half(id, line)];
  if (!Number.isFinite(middle)) return null;
  const seeds = board.scores(line).filter(Number.isFinite);
  const label = `seeds: ${seeds.map(score).join(", ")}`;
  const y = HEIGHT / 2;
  return s(
    "svg.strip",
    { width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    s("title", {}, label),
    Number.isFinite(half) && s("line.interval", { x1: scale(middle - half), x2: scale(middle + half), y1: y, y2: y }),
    seeds.map((value) => s("circle.seed", { cx: scale(value), cy: y, r: 2.5 })),
    s("line.mean", { x1: scale(middle), x2: scale(middle), y1: 3, y2: HEIGHT - 3 }),
  );
}
