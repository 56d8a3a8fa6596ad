// Heat maps: the tasks of a pool, and who beats whom.

import { choice, h } from "./dom.js";
import { clusters, grouped, winRates } from "./judge.js";
import { figure, heatMap } from "./plot.js";
import { heading, plural, score, short, shortHeading } from "./text.js";

const MOST = 40; // entrants in the matrix

/** One map per group with pools across data sets: scores by task, coloured by the task's own model's. */
export function tasksView(board, state, lines, act) {
  const { tasks } = board.document.lines;
  const groups = grouped(board, lines.filter((line) => tasks[line]?.length), "");
  if (!groups.length) return h("p.empty", {}, "No shown line is of a pool across data sets.");
  return h(
    "div",
    {},
    h("p.said", {}, "The score of each task by that of its own model: 1 is as good. The darker, the better within the column."),
    groups.map((group) => taskMap(board, group, tasks[group.lines[0]], act)),
  );
}

function taskMap(board, group, tasks, act) {
  const title = `scores by task, ${heading(group)}`;
  const lines = group.lines.filter((line) => board.document.lines.ok[line]);
  const value = (line, task) => board.number(`task.${task}.normalised.mean`, line);
  const ends = tasks.map((task) => {
    const all = lines.map((line) => value(line, task)).filter(Number.isFinite);
    return [Math.min(...all), Math.max(...all)];
  });
  const cell = (i, j) => {
    const [line, task] = [lines[i], tasks[j]];
    const found = value(line, task);
    if (!Number.isFinite(found)) return null;
    const [low, high] = ends[j];
    const told = [short(board.names[line]), short(task), `score ${score(board.number(`task.${task}.score.mean`, line))}`, `by its own model's ${found.toFixed(3)}`];
    return { share: high > low ? (0.85 * (found - low)) / (high - low) : 0.4, text: found.toFixed(2), told, open: () => act.open(`line:${line}`) };
  };
  const rows = lines.map((line) => [short(board.names[line]), ...tasks.map((task) => score(value(line, task)))]);
  const names = lines.map((line) => short(board.names[line]));
  const draw = (width) => heatMap(title, names, tasks.map(short), cell, width);
  return h("section", {}, h("h2", {}, shortHeading(group)), figure(title, draw, ["line", ...tasks.map(short)], rows));
}

/** How often each entrant beats each other. */
export function winsView(board, state, lines, act) {
  const all = clusters(board, lines);
  const cluster = all.find((one) => one.datasets.includes(state.panel)) ?? all[0];
  if (!cluster) return h("p.empty", {}, "No shown line has a score.");
  const found = winRates(board, cluster.lines);
  const options = all.map((one) => [one.datasets[0], one.datasets.map(short).join(", ")]);
  const controls = all.length > 1 ? h("div.controls", {}, choice("data sets with the same entrants", cluster.datasets[0], options, (panel) => act.set({ panel }))) : null;
  const shown = found.entrants.slice(0, MOST);
  if (shown.length < 2) return h("div", {}, controls, h("p.empty", {}, "Fewer than two shown entrants have all scores."));
  const several = new Set(shown.map((one) => one.backbone)).size > 1;
  const names = shown.map((one) => several ? `${short(one.name)}, ${short(one.backbone)}` : short(one.name));
  const cell = (i, j) => {
    const rate = found.wins[i][j];
    if (i === j) return null;
    const told = [`${names[i]} against ${names[j]}`, `better in ${(100 * rate).toFixed(0)} % of ${plural(found.count, found.over.slice(0, -1))}`];
    return { share: 1.7 * (rate - 0.5), text: rate.toFixed(2), told };
  };
  const rows = shown.map((one, i) => [names[i], one.average.toFixed(3), ...shown.map((_, j) => (i === j ? "" : found.wins[i][j].toFixed(2)))]);
  const title = "win rates, row against column";
  const said = [
    `In what share of ${plural(found.count, found.over.slice(0, -1))} the row is better than the column; a tie is half.`,
    found.over === "seeds" ? "With one data set this says how the seeds went, not how other data sets would go." : "",
    found.leftOut ? `${plural(found.leftOut, "entrant")} without all scores ${found.leftOut === 1 ? "is" : "are"} left out.` : "",
    found.entrants.length > MOST ? `The best ${MOST} of ${found.entrants.length} are shown.` : "",
  ];
  const draw = (width) => heatMap(title, names, names, cell, width);
  return h("div", {}, controls, h("p.said", {}, said.filter(Boolean).join(" ")), figure(title, draw, ["", "average", ...names], rows));
}
