// Scores over rounds of fine-tuning and fusing.

import { h, s } from "./dom.js";
import { grouped } from "./judge.js";
import { axes, colour, figure, roving, scale, svg, tip } from "./plot.js";
import { heading, shortHeading } from "./table.js";
import { lineName } from "./board.js";
import { plusMinus, score, short } from "./text.js";

/** One chart per data set and backbone with fusions in several rounds. */
export function curvesView(board, state, lines, act) {
  const charts = grouped(board, lines, "").map((group) => chart(board, group, act)).filter(Boolean);
  return charts.length ? h("div", {}, charts) : h("p.empty", {}, "No shown fusion has several rounds.");
}

function chart(board, group, act) {
  const curves = new Map();
  for (const line of group.lines) {
    if (!board.document.lines.ok[line]) continue;
    const name = lineName(board.document.lines.labels[line], board.text("pool", line));
    if (!curves.has(name)) curves.set(name, []);
    curves.get(name).push(line);
  }
  const several = [...curves].filter(([, line]) => line.length > 1);
  if (!several.length) return null;
  for (const [, line] of several) line.sort((a, b) => roundOf(board, a) - roundOf(board, b));
  const title = `scores by round, ${heading(group)}`;
  const ranking = board.byId.get(board.rankedBy(group.lines[0]));
  const rows = several.flatMap(([name, line]) =>
    line.map((one) => [short(name), roundOf(board, one), score(board.number(ranking.id, one)), plusMinus(board.half(ranking.id, one))]),
  );
  const drawn = (width) => draw(board, several, ranking, title, width, act);
  const legend = several.map(([name], at) => h("li", {}, s("svg.key", { width: 18, height: 16 }, s(`g.mark.on.${colour(at)}`, {}, s("circle.point", { cx: 9, cy: 8, r: 5.5 }))), short(name)));
  return h("section", {}, h("h2", {}, shortHeading(group)), figure(title, drawn, ["line", "round", ranking.title, "±"], rows), h("ul.legend", {}, legend));
}

function roundOf(board, line) {
  return board.document.lines.rounds[line] + 1;
}

function draw(board, curves, ranking, title, width, act) {
  const height = Math.max(280, Math.min(420, width * 0.5));
  const box = { left: 58, right: width - 16, top: 34, bottom: height - 48 };
  const all = curves.flatMap(([, lines]) => lines);
  const last = Math.max(...all.map((line) => roundOf(board, line)));
  const x = (value) => box.left + 16 + ((box.right - box.left - 32) * (value - 1)) / Math.max(last - 1, 1);
  x.ticks = Array.from({ length: last }, (_, i) => i + 1);
  const values = all.flatMap((line) => [board.number(ranking.id, line), ...board.scores(line)]);
  const y = scale(values, box.bottom, box.top, false);
  const points = [];
  const parts = curves.map(([name, lines], at) => {
    const places = lines.map((line) => [x(roundOf(board, line)), y(board.number(ranking.id, line))]);
    const path = s("path.curve", { d: `M${places.map((place) => place.join(" ")).join("L")}` });
    const marks = lines.map((line, i) => {
      const seeds = board.scores(line).filter(Number.isFinite).map((value) => s("circle.seed", { cx: places[i][0], cy: y(value), r: 2 }));
      const told = [short(name), `round ${roundOf(board, line)}`, `${ranking.title} ${score(board.number(ranking.id, line))}${plusMinus(board.half(ranking.id, line))}`];
      const mark = s("g.mark.on", { "data-line": line, "aria-label": told.join(", ") }, seeds, s("circle.point", { cx: places[i][0], cy: places[i][1], r: 5 }));
      points.push(tip(mark, () => told, () => act.open(`line:${line}`)));
      return mark;
    });
    return s(`g.${colour(at)}`, {}, path, marks);
  });
  roving(points);
  return svg(title, width, height, axes(box, x, y, "round", ranking.title, String, (value) => String(Number(value.toPrecision(6)))), parts);
}
