// Curves: scores over rounds of fine-tuning and fusing, and over how many tasks or members are fused.

import { h, s } from "./dom.js";
import { grouped } from "./judge.js";
import { axes, colour, even, figure, roving, scale, svg, tip } from "./plot.js";
import { lineName } from "./board.js";
import { heading, plusMinus, score, short, shortHeading, toNumber } from "./text.js";

/** One chart per data set and backbone with fusions in several rounds. */
export function roundsView(board, state, lines, act) {
  const charts = grouped(board, lines, "").map((group) => roundsChart(board, group, act)).filter(Boolean);
  return charts.length ? h("div", {}, charts) : h("p.empty", {}, "No shown fusion has several rounds.");
}

function roundsChart(board, group, act) {
  const curves = new Map();
  for (const line of group.lines) {
    if (!board.document.lines.ok[line]) continue;
    const name = short(lineName(board.document.lines.labels[line], board.text("pool", line)));
    const id = board.rankedBy(line);
    const point = {
      x: board.document.lines.rounds[line] + 1,
      y: board.number(id, line),
      half: board.half(id, line),
      seeds: board.scores(line).filter(Number.isFinite),
      line,
    };
    if (!curves.has(name)) curves.set(name, []);
    curves.get(name).push(point);
  }
  for (const [name, points] of curves) if (points.length < 2) curves.delete(name);
  const metric = board.byId.get(board.rankedBy(group.lines[0]))?.title;
  return curves.size ? chart(`scores by round, ${heading(group)}`, shortHeading(group), "round", metric, curves, act) : null;
}

/** One chart per pool of which parts were fused. */
export function sizesView(board, state, lines, act) {
  const pools = new Map();
  const shown = new Set(lines.map((line) => JSON.stringify([board.text("backbone", line), board.text("pool", line)])));
  for (const point of board.document.sizes) {
    if (!shown.has(JSON.stringify([point.backbone, point.pool]))) continue;
    const key = `${shortHeading(point)}, pool ${point.pool}`;
    if (!pools.has(key)) pools.set(key, { metric: point.metric, curves: new Map() });
    const { curves } = pools.get(key);
    if (!curves.has(point.strategy)) curves.set(point.strategy, []);
    const drawn = `${point.subsets} of ${point.planned} subsets`;
    curves.get(point.strategy).push({ x: point.size, y: toNumber(point.mean), half: toNumber(point.half), seeds: [], drawn });
  }
  const charts = [...pools].map(([key, { metric, curves }]) => chart(`scores by size, ${key}`, key, "how many are fused", metric, curves, act));
  return charts.length ? h("div", {}, charts) : h("p.empty", {}, "No shown pool was fused in parts.");
}

function chart(title, name, across, metric, curves, act) {
  for (const points of curves.values()) points.sort((a, b) => a.x - b.x);
  const rows = [...curves].flatMap(([curve, points]) => points.map((p) => [curve, p.x, score(p.y), plusMinus(p.half)]));
  const legend = [...curves.keys()].map((curve, at) =>
    h("li", {}, s("svg.key", { width: 18, height: 16 }, s(`g.mark.on.${colour(at)}`, {}, s("circle.point", { cx: 9, cy: 8, r: 5.5 }))), curve),
  );
  const drawn = (width) => draw(curves, across, metric, title, width, act);
  return h("section", {}, h("h2", {}, name), figure(title, drawn, ["line", across, metric, "±"], rows), h("ul.legend", {}, legend));
}

function draw(curves, across, metric, title, width, act) {
  const height = Math.max(280, Math.min(420, width * 0.5));
  const box = { left: 58, right: width - 16, top: 34, bottom: height - 48 };
  const all = [...curves.values()].flat().filter((p) => Number.isFinite(p.y));
  const [first, last] = [Math.min(...all.map((p) => p.x)), Math.max(...all.map((p) => p.x))];
  const x = (value) => box.left + 16 + ((box.right - box.left - 32) * (value - first)) / Math.max(last - first, 1);
  x.ticks = [...new Set(all.map((p) => p.x))];
  const y = scale(all.flatMap((p) => [p.y, ...p.seeds, ...(Number.isFinite(p.half) ? [p.y - p.half, p.y + p.half] : [])]), box.bottom, box.top, false);
  const marks = [];
  const parts = [...curves].map(([name, points], at) => {
    const finite = points.filter((p) => Number.isFinite(p.y));
    const path = s("path.curve", { d: `M${finite.map((p) => `${x(p.x)} ${y(p.y)}`).join("L")}` });
    const own = finite.map((p) => {
      const told = [name, `${across} ${p.x}`, `${metric} ${score(p.y)}${plusMinus(p.half)}`, ...(p.drawn ? [p.drawn] : [])];
      const seeds = p.seeds.map((value) => s("circle.seed", { cx: x(p.x), cy: y(value), r: 2 }));
      const whisker = Number.isFinite(p.half) && s("line.whisker", { x1: x(p.x), x2: x(p.x), y1: y(p.y - p.half), y2: y(p.y + p.half) });
      const mark = s("g.mark.on", { "data-line": p.line, "aria-label": told.join(", ") }, whisker, seeds, s("circle.point", { cx: x(p.x), cy: y(p.y), r: 5 }));
      return tip(mark, () => told, p.line === undefined ? undefined : () => act.open(`line:${p.line}`));
    });
    marks.push(...own);
    return s(`g.${colour(at)}`, {}, finite.length ? path : null, own);
  });
  roving(marks);
  return svg(title, width, height, axes(box, x, y, across, metric, String, even(y.ticks)), parts);
}
