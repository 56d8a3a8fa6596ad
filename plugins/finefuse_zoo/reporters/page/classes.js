// By class: what a line takes for what, and how good it is at each.

import { choice, h, plainTable } from "./dom.js";
import { grouped } from "./judge.js";
import { figure, heatMap } from "./plot.js";
import { heading, plural, short, shortHeading } from "./text.js";

const MOST = 200; // classes in the table, those with the lowest recall
const Z = 1.959963984540054; // of a 95 % interval

/** The whole view: one line, all its tasks. */
export function classesView(board, state, lines, act) {
  const { lines: known, left_out: leftOut, trouble } = board.document.classes;
  const groups = grouped(board, lines.filter((line) => known[line]), "");
  if (!groups.length) return h("p.empty", {}, trouble || "This page has predicted classes for none of the lines shown.");
  const group = groups.find((one) => heading(one) === state.panel) ?? groups[0];
  const line = group.lines.find((one) => board.names[one] === state.a) ?? group.lines[0];
  const tables = groups.map((one) => [heading(one), shortHeading(one)]);
  const controls = h(
    "div.controls",
    {},
    tables.length > 1 ? choice("data set and backbone", heading(group), tables, (panel) => act.set({ panel })) : null,
    choice("line", board.names[line], group.lines.map((one) => [board.names[one], short(board.names[one])]), (a) => act.set({ a })),
  );
  const missing = leftOut ? h("p.said", {}, `This page has no room for the classes of ${plural(leftOut, "more line")}; finefuse show . LINE prints them.`) : null;
  return h("div", {}, controls, known[line].map((found) => section(board, line, found)), missing);
}

function section(board, line, found) {
  const names = board.document.classes.names[found.names];
  const classes = scoresByClass(found);
  const mean = means(classes);
  const seeds = `${plural(found.seeds, "seed")}${found.seeds > 1 ? " together" : ""}`;
  const said = `Mean recall (balanced accuracy) ${fixed(mean.recall, 4)}, mean F1 ${fixed(mean.f1, 4)}; ${plural(names.length, "class", "classes")}, ${seeds}.`;
  const of = `${short(board.names[line])}${found.task ? `, ${short(found.task)}` : ""}`;
  return h("section", {}, found.task ? h("h2", {}, short(found.task)) : null, h("p.said", {}, said), found.whole ? matrix(of, names, found) : confusions(of, names, found), table(of, names, classes));
}

/** Of every class its counts, recall with Wilson's interval, precision and F1; NaN where undefined. */
export function scoresByClass({ examples, predicted, right, seeds }) {
  return examples.map((count, at) => {
    const recall = count ? right[at] / count : NaN;
    const [low, high] = wilson(recall, count / seeds);
    const precision = predicted[at] ? right[at] / predicted[at] : NaN;
    const f1 = count + predicted[at] ? (2 * right[at]) / (count + predicted[at]) : NaN;
    return { at, examples: count, predicted: predicted[at], right: right[at], recall, low, high, precision, f1 };
  });
}

function wilson(share, n) {
  const centre = (share + Z ** 2 / (2 * n)) / (1 + Z ** 2 / n);
  const half = (Z * Math.sqrt((share * (1 - share)) / n + Z ** 2 / (4 * n ** 2))) / (1 + Z ** 2 / n);
  return [Math.max(0, centre - half), Math.min(1, centre + half)];
}

/** The means over the classes that have examples. */
export function means(classes) {
  const known = classes.filter((one) => one.examples);
  const mean = (name) => known.reduce((sum, one) => sum + one[name], 0) / known.length;
  return { recall: mean("recall"), f1: mean("f1") };
}

/** How many examples of one class were taken for another, as rows of counts. */
export function counts({ right, taken }) {
  const rows = right.map((_, i) => right.map((count, j) => (i === j ? count : 0)));
  for (const [of, to, count] of taken) rows[of][to] = count;
  return rows;
}

function matrix(of, names, found) {
  const rows = counts(found);
  const cell = (i, j) => {
    const count = rows[i][j];
    if (!found.examples[i]) return null;
    const share = count / found.examples[i];
    const told = [i === j ? `${names[i]}, right` : `${names[i]} taken for ${names[j]}`, `${count} of ${plural(found.examples[i], "example")}, ${(100 * share).toFixed(1)} %`];
    return { share: i === j ? 0.7 * share : -Math.sqrt(share), text: count ? String(count) : "", told };
  };
  const title = `confusions of ${of}`;
  const draw = (width) => heatMap(title, names, names, cell, width);
  const shown = rows.map((row, i) => [names[i], ...row]);
  return h("div", {}, h("p.said", {}, "Examples by class, down, and by predicted class, across; coloured by the share of the class."), figure(title, draw, ["class", ...names], shown));
}

function confusions(of, names, { taken }) {
  if (!taken.length) return h("p.said", {}, "No class was taken for another.");
  const rows = taken.map(([from, to, count]) => [names[from], names[to], count]);
  return h("div", {}, h("p.said", {}, `The ${plural(rows.length, "most frequent confusion")}:`), plainTable(`confusions of ${of}`, ["class", "taken for", "examples"], rows, 2));
}

function table(of, names, classes) {
  const known = classes.filter((one) => one.examples).sort((a, b) => a.recall - b.recall || a.at - b.at);
  const shown = classes.length > MOST ? known.slice(0, MOST) : classes;
  const rows = shown.map((one) => [
    names[one.at],
    one.examples,
    one.predicted,
    one.right,
    fixed(one.recall, 3),
    one.examples ? `${fixed(one.low, 3)} to ${fixed(one.high, 3)}` : "",
    fixed(one.precision, 3),
    fixed(one.f1, 3),
  ]);
  const less = classes.length > MOST ? h("p.said", {}, `The ${MOST} of ${classes.length} classes with the lowest recall:`) : null;
  return h("div", {}, less, plainTable(`scores by class of ${of}`, ["class", "examples", "predicted", "right", "recall", "95 %", "precision", "F1"], rows));
}

function fixed(value, digits) {
  return Number.isFinite(value) ? value.toFixed(digits) : "";
}
