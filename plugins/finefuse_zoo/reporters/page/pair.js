// Two lines against each other, by data set and seed, on the same test examples.

import { choice, h, plainTable, s } from "./dom.js";
import { paired } from "./judge.js";
import { LETTER, axes, cut, even, figure, roving, scale, svg, tip } from "./plot.js";
import { plusMinus, score, short, shortHeading, shorten, show } from "./text.js";

/** The names by which a line can be chosen: alone, and on its backbone where there are several. */
function choices(board, lines) {
  const found = new Map();
  const several = new Set(lines.map((line) => board.text("backbone", line))).size > 1;
  for (const line of lines.filter((one) => board.tableOf[one])) {
    const name = board.names[line];
    for (const one of several ? [name, `${name} on ${board.text("backbone", line)}`] : [name]) {
      if (!found.has(one)) found.set(one, []);
      shorten([[one, one === name ? short(name) : `${short(name)} on ${short(board.text("backbone", line))}`]]);
      found.get(one).push(line);
    }
  }
  return found;
}

/** The whole view. */
export function pairView(board, state, lines, act) {
  const found = choices(board, lines);
  const names = [...found.keys()];
  if (names.length < 2) return h("p.empty", {}, "Fewer than two shown lines have scores.");
  const a = found.has(state.a) ? state.a : names[0];
  const b = found.has(state.b) ? state.b : names.find((name) => matched(board, found.get(a), found.get(name), false).length) ?? a;
  const controls = h(
    "div.controls",
    {},
    choice("a", a, names.map((name) => [name, short(name)]), (name) => act.set({ a: name })),
    choice("b", b, names.map((name) => [name, short(name)]), (name) => act.set({ b: name })),
  );
  const pairs = matched(board, found.get(a), found.get(b), ![a, b].some((name) => board.names.includes(name)));
  if (!pairs.length) return h("div", {}, controls, h("p.empty", {}, "These two have no scored seed of one table in common."));
  const wins = (verdict) => pairs.filter((pair) => pair.verdict === verdict).length;
  const said = `a is better in ${wins("a is better")}, b in ${wins("b is better")} of ${pairs.length} tables, each by its own 95 % interval of seeds and test examples.`;
  const head = ["data set and backbone", "metric", "a", "b", "a − b", "verdict"];
  const rows = pairs.map((p) => [p.name, p.metric, score(p.a), score(p.b), `${show("signed", p.difference)}${plusMinus(p.half)}`, p.verdict]);
  const title = `${short(a)} minus ${short(b)}`;
  return h("div", {}, controls, h("p.said", {}, said), figure(title, (width) => draw(pairs, title, width), head, rows, true), bySeed(pairs));
}

/** Pairs on one backbone; across backbones only if both names say theirs. */
function matched(board, ours, theirs, across) {
  const found = [];
  for (const a of ours) {
    for (const b of theirs) {
      if (a === b || board.text("dataset", a) !== board.text("dataset", b)) continue;
      const backbones = [...new Set([board.text("backbone", a), board.text("backbone", b)])];
      if (backbones.length > 1 && !across) continue;
      const pair = paired(board, a, b);
      if (pair) found.push({ ...pair, name: shortHeading({ dataset: board.text("dataset", a), backbone: backbones.map(short).join(" / ") }) });
    }
  }
  return found;
}

function bySeed(pairs) {
  const rows = pairs.flatMap((pair) =>
    pair.seeds.map((one) => [
      pair.name,
      one.seed,
      score(one.a),
      score(one.b),
      show("signed", one.a - one.b),
      Number.isNaN(one.p) ? "" : one.p.toPrecision(2),
      one.of ? `${one.onlyA} of ${one.of} only a, ${one.onlyB} only b` : "",
    ]),
  );
  return h(
    "details",
    { open: true },
    h("summary", {}, "By seed"),
    plainTable("by seed", ["data set and backbone", "seed", "a", "b", "a − b", "p", "examples right"], rows),
    h("p.said", {}, "p: McNemar's exact test of the examples that only one of the two has right."),
  );
}

/** Differences with their intervals and seeds, one row per table. */
function draw(pairs, title, width) {
  const narrow = width < 560; // then names stand above
  const left = narrow ? 16 : Math.min(280, width * 0.36);
  const high = narrow ? 52 : 34;
  const box = { left, right: width - 16, top: 30, bottom: 30 + high * pairs.length };
  const ends = pairs.flatMap((p) => [0, p.difference, ...p.seeds.map((one) => one.a - one.b), ...(Number.isFinite(p.half) ? [p.difference - p.half, p.difference + p.half] : [])]);
  const x = scale(ends, box.left, box.right, false);
  const y = Object.assign((at) => box.top + high * (at + 0.5), { ticks: [] });
  const marks = pairs.map((p, at) => {
    const told = [p.name, `a − b ${show("signed", p.difference)}${plusMinus(p.half)}`, p.verdict];
    const better = { "a is better": "c0", "b is better": "c1" }[p.verdict] ?? "plainly";
    const mark = s(
      `g.mark.on.${better}`,
      { "aria-label": told.join(", ") },
      Number.isFinite(p.half) && s("line.whisker", { x1: x(p.difference - p.half), x2: x(p.difference + p.half), y1: y(at), y2: y(at) }),
      p.seeds.map((one) => s("circle.seed", { cx: x(one.a - one.b), cy: y(at) + 9, r: 2 })),
      s("circle.point", { cx: x(p.difference), cy: y(at), r: 5 }),
    );
    return tip(mark, () => told);
  });
  roving(marks);
  const name = (p, at) =>
    narrow
      ? s("text.name", { x: left, y: y(at) - 12 }, cut(p.name, Math.floor(width / LETTER)))
      : s("text.name", { x: left - 8, y: y(at) + 4, "text-anchor": "end" }, cut(p.name, Math.floor(left / LETTER)));
  const frame = axes(box, x, y, "a − b", "", even(x.ticks), String);
  return svg(title, width, box.bottom + 48, frame, s("line.zero", { x1: x(0), x2: x(0), y1: box.top, y2: box.bottom }), pairs.map(name), marks);
}
