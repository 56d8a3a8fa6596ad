// Retention against gain: what a body still knows of its source task, by what it scores on the task it was tuned for.

import { h, s } from "./dom.js";
import { grouped } from "./judge.js";
import { labels } from "./pareto.js";
import { axes, even, figure, roving, scale, svg, tip } from "./plot.js";
import { heading, plusMinus, score, short, shortHeading, show } from "./text.js";

const SOURCE = /^source\.(?!before\.)(.+)\.mean$/;

/** Whether any line was scored on the source task. */
export function hasSource(board) {
  return board.columns.some((column) => SOURCE.test(column.id));
}

/** One chart per data set and backbone. */
export function keptView(board, state, lines, act) {
  const column = board.columns.find((one) => SOURCE.test(one.id));
  const before = column && board.byId.get(column.id.replace("source.", "source.before."));
  const known = column ? lines.filter((line) => Number.isFinite(board.number(column.id, line)) && board.document.lines.ok[line]) : [];
  if (!known.length) return h("p.empty", {}, "No shown line was scored on the source task.");
  const said = `Across, the score on the task that a body was tuned for; upwards, ${column.title}, with the pretrained head. The line is the pretrained body, before any tuning: what is on it has forgotten nothing.`;
  return h("div", {}, h("p.said", {}, said), grouped(board, known, "").map((group) => chart(board, group, column, before, act)));
}

function chart(board, group, column, before, act) {
  const target = board.byId.get(board.rankedBy(group.lines[0]));
  const points = group.lines.map((line) => pointOf(board, line, target, column, before)).filter((p) => Number.isFinite(p.x));
  const start = points.map((p) => p.before).find(Number.isFinite) ?? NaN;
  const title = `retention against gain, ${heading(group)}`;
  const head = ["line", target.title, "±", column.title, "±", "before", "kept"];
  const rows = points.map((p) => [p.name, score(p.x), plusMinus(p.xHalf), score(p.y), plusMinus(p.yHalf), show("score", p.before), show("signed", p.y - p.before)]);
  const drawn = (width) => draw(points, start, target, column, title, width, act);
  return h("section", {}, h("h2", {}, shortHeading(group)), figure(title, drawn, head, rows));
}

function pointOf(board, line, target, column, before) {
  const number = (one) => (one ? board.number(one.id, line) : NaN);
  const [x, y] = [number(target), number(column)];
  return { line, front: "on", name: short(board.names[line]), fusion: board.isFusion(line), x, xHalf: board.half(target.id, line), y, yHalf: board.half(column.id, line), before: number(before) };
}

function draw(points, start, target, column, title, width, act) {
  const height = Math.max(300, Math.min(480, width * 0.55));
  const box = { left: 58, right: width - 16, top: 34, bottom: height - 48 };
  const x = scale(points.map((p) => p.x), box.left, box.right, false);
  const y = scale([start, ...points.map((p) => p.y)], box.bottom, box.top, false);
  const marks = points.map((p) => {
    const [cx, cy] = [x(p.x), y(p.y)];
    const shape = p.fusion ? s("path.point", { d: `M${cx} ${cy - 7}L${cx + 7} ${cy}L${cx} ${cy + 7}L${cx - 7} ${cy}Z` }) : s("circle.point", { cx, cy, r: 5.5 });
    const told = [p.name, `${target.title} ${score(p.x)}${plusMinus(p.xHalf)}`, `${column.title} ${score(p.y)}${plusMinus(p.yHalf)}`, ...(Number.isFinite(p.before) ? [`kept ${show("signed", p.y - p.before)}`] : [])];
    return tip(s("g.mark.on.c0", { "data-line": p.line, "aria-label": told.join(", ") }, shape), () => told, () => act.open(`line:${p.line}`));
  });
  roving(marks);
  const line = Number.isFinite(start) && s("line.zero", { x1: box.left, x2: box.right, y1: y(start), y2: y(start) });
  const arrow = (one) => `${one.title}${{ higher: " ↑", lower: " ↓" }[one.better] ?? ""}`;
  return svg(title, width, height, axes(box, x, y, target.title, arrow(column), even(x.ticks), even(y.ticks)), line, marks, labels(points, x, y, box));
}
