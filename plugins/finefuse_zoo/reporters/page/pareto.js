// Score against cost: seeds as points, intervals, and the front with what is uncertain about it.

import { choice, h, s } from "./dom.js";
import { fronts } from "./judge.js";
import { axes, colour, cut, even, figure, roving, scale, svg, tip } from "./plot.js";
import { plusMinus, score, short, show, tick } from "./text.js";

/** The whole view: one data set, its shown backbones together. */
export function paretoView(board, state, lines, act) {
  const scored = lines.filter((line) => board.document.lines.ok[line]);
  if (!scored.length) return h("p.empty", {}, "No shown line has a score.");
  const datasets = [...new Set(scored.map((line) => board.text("dataset", line)))];
  const dataset = datasets.includes(state.panel) ? state.panel : datasets[0];
  const here = scored.filter((line) => board.text("dataset", line) === dataset);
  const costs = board.group("costs").filter((c) => here.some((line) => board.number(c.id, line) > 0));
  const scores = board.group("scores").filter((c) => here.some((line) => Number.isFinite(board.number(c.id, line))));
  if (!costs.length) return h("p.empty", {}, "No cost was measured.");
  const x = costs.find((c) => c.id === state.x) ?? costs.find((c) => c.id === "seconds_with_members") ?? costs[0];
  const y = scores.find((c) => c.id === state.y) ?? board.byId.get(board.rankedBy(here[0]));
  const titles = (columns) => columns.map((c) => [c.id, short(c.title)]);
  const controls = h(
    "div.controls",
    {},
    choice("data set", dataset, datasets.map((name) => [name, short(name)]), (panel) => act.set({ panel })),
    choice("across", x.id, titles(costs), (id) => act.set({ x: id })),
    choice("upwards", y.id, titles(scores), (id) => act.set({ y: id })),
    choice("scale", state.log, [["auto", "automatic"], ["log", "logarithmic"], ["linear", "linear"]], (log) => act.set({ log })),
  );
  const points = here.map((line) => pointOf(board, line, x, y)).filter((p) => Number.isFinite(p.x) && Number.isFinite(p.y));
  const front = fronts(board, points.map((p) => p.line), x, y);
  for (const p of points) p.front = front.get(p.line);
  const title = `${y.title} against ${x.title}, ${short(dataset)}`;
  const head = ["line", "backbone", x.title, y.title, "±", "front"];
  const rows = points.map((p) => [p.name, short(p.backbone), show(x.form, p.x), score(p.y), plusMinus(p.half), FRONT[p.front]]);
  return h("div", {}, controls, figure(title, (width) => draw(board, state, points, x, y, title, width, act), head, rows), legend(points));
}

const FRONT = { on: "on the front", maybe: "may be on it", behind: "behind it" };

function pointOf(board, line, x, y) {
  const ranking = y.id === board.rankedBy(line);
  return {
    line,
    name: short(board.names[line]),
    backbone: board.text("backbone", line),
    fusion: board.isFusion(line),
    x: board.number(x.id, line),
    y: board.number(y.id, line),
    half: board.half(y.id, line),
    seeds: ranking ? board.scores(line).filter(Number.isFinite) : [],
  };
}

function draw(board, state, points, x, y, title, width, act) {
  const height = Math.max(320, Math.min(560, width * 0.62));
  const box = { left: 58, right: width - 16, top: 34, bottom: height - 48 };
  const xs = points.map((p) => p.x);
  const wide = Math.max(...xs) / Math.min(...xs) > 20;
  const log = state.log === "log" || (state.log === "auto" && wide);
  const usable = points.filter((p) => !log || p.x > 0);
  const px = scale(xs, box.left, box.right, log);
  const ends = usable.flatMap((p) => [p.y, ...p.seeds, ...(Number.isFinite(p.half) && p.half < 10 * spreadOf(points) ? [p.y - p.half, p.y + p.half] : [])]);
  const py = scale(ends, box.bottom, box.top, false);
  const backbones = [...new Set(points.map((p) => p.backbone))];
  const clamp = (value) => Math.max(box.top, Math.min(box.bottom, value));
  const marks = usable
    .sort((a, b) => a.x - b.x)
    .map((p) => {
      const [cx, cy] = [px(p.x), py(p.y)];
      const shape = p.fusion
        ? s("path.point", { d: `M${cx} ${cy - 7}L${cx + 7} ${cy}L${cx} ${cy + 7}L${cx - 7} ${cy}Z` })
        : s("circle.point", { cx, cy, r: 5.5 });
      const told = [p.name, short(p.backbone), `${y.title} ${score(p.y)}${plusMinus(p.half)}`, `${x.title} ${show(x.form, p.x)}`, FRONT[p.front]];
      const whisker = Number.isFinite(p.half) && s("line.whisker", { x1: cx, x2: cx, y1: clamp(py(p.y - p.half)), y2: clamp(py(p.y + p.half)) });
      const seeds = p.seeds.map((value) => s("circle.seed", { cx, cy: py(value), r: 2 }));
      const mark = s(`g.mark.${p.front}.${colour(backbones.indexOf(p.backbone))}`, { "data-line": p.line, "aria-label": told.join(", ") }, whisker, seeds, shape);
      return tip(mark, () => told, () => act.open(`line:${p.line}`));
    });
  roving(marks);
  const xText = (value) => tick(x.form, value);
  return svg(
    title,
    width,
    height,
    axes(box, px, py, x.about || x.title, `${y.title}${{ higher: " ↑", lower: " ↓" }[y.better] ?? ""}`, xText, even(py.ticks)),
    front(usable, px, py, box),
    marks,
    labels(usable, px, py, box),
  );
}

function spreadOf(points) {
  const values = points.map((p) => p.y);
  return Math.max(...values) - Math.min(...values) || Infinity;
}

/** Steps through what is on the front, from the cheapest to the right edge. */
function front(points, px, py, box) {
  const on = points.filter((p) => p.front === "on").sort((a, b) => a.x - b.x);
  if (!on.length) return null;
  const path = on.map((p, at) => (at ? `H${px(p.x)}V${py(p.y)}` : `M${px(p.x)} ${py(p.y)}`)).join("");
  return s("path.front", { d: `${path}H${box.right}`, "aria-hidden": "true" });
}

/** Names of the points that are on the front, where there is room for them. */
export function labels(points, px, py, box) {
  const taken = points.map((p) => ({ left: px(p.x) - 8, right: px(p.x) + 8, top: py(p.y) - 8, bottom: py(p.y) + 8 }));
  const found = [];
  for (const p of points.filter((one) => one.front === "on")) {
    const text = cut(p.name, 28);
    const [w, x, y] = [text.length * 7.4 + 4, px(p.x), py(p.y)];
    const places = [[x + 11, y - 9, "start"], [x - 11, y - 9, "end"], [x + 11, y + 17, "start"], [x - 11, y + 17, "end"]];
    for (const [at, base, anchor] of places) {
      const left = anchor === "start" ? at : at - w;
      const area = { left, right: left + w, top: base - 11, bottom: base + 3 };
      const inside = area.left > box.left && area.right < box.right && area.top > box.top - 20 && area.bottom < box.bottom;
      if (!inside || taken.some((t) => t.left < area.right && area.left < t.right && t.top < area.bottom && area.top < t.bottom)) continue;
      taken.push(area);
      found.push(s("text.label", { x: at, y: base, "text-anchor": anchor }, text));
      break;
    }
  }
  return s("g", { "aria-hidden": "true" }, found);
}

function legend(points) {
  const backbones = [...new Set(points.map((p) => p.backbone))];
  const sample = (...parts) => s("svg.key", { width: 18, height: 16, viewBox: "0 0 18 16", "aria-hidden": "true" }, ...parts);
  const dot = (kind) => sample(s(`g.mark.${kind}`, {}, s("circle.point", { cx: 9, cy: 8, r: 5.5 })));
  const items = [
    ...backbones.map((name, at) => [dot(`on.${colour(at)}`), short(name)]),
    [dot("on.plainly"), "scheme"],
    [sample(s("g.mark.on.plainly", {}, s("path.point", { d: "M9 1L16 8L9 15L2 8Z" }))), "fusion"],
    [dot("on.plainly"), "on the front: nothing is as cheap and as good"],
    [dot("maybe.plainly"), "may be on it: nothing surely no dearer is told apart as better"],
    [dot("behind.plainly"), "behind it"],
  ];
  return h("ul.legend", {}, items.map(([mark, text]) => h("li", {}, mark, text)));
}
