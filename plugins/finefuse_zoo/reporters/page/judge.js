// What the shown lines mean: ranks computed anew, pairs of lines, and who beats whom.

import { scoreHalf, standing } from "./ranks.js";
import { mcnemar, mean } from "./special.js";
import { toNumber } from "./text.js";

/** The shown lines by data set and backbone, or by data set alone where `across` asks for it and it can be done. */
export function grouped(board, lines, across) {
  const groups = new Map();
  for (const line of lines) {
    const [dataset, backbone] = [board.text("dataset", line), board.text("backbone", line)];
    const joined = across && board.document.tables.some((table) => table.dataset === dataset && table.across);
    const key = JSON.stringify(joined ? [dataset] : [dataset, backbone]);
    if (!groups.has(key)) groups.set(key, { key, dataset, backbone: joined ? "" : backbone, lines: [] });
    groups.get(key).lines.push(line);
  }
  return [...groups.values()].map((group) => ({ ...group, lines: group.backbone ? group.lines : byMean(board, group.lines) }));
}

function byMean(board, lines) {
  const lower = board.tableOf[lines.find((line) => board.tableOf[line])]?.lower;
  const at = (line) => {
    const value = board.document.lines.ok[line] ? board.number(board.rankedBy(line), line) : NaN;
    return Number.isNaN(value) ? Infinity : lower ? value : -value;
  };
  return [...lines].sort((a, b) => at(a) - at(b));
}

const judged = new WeakMap();

/** How the lines of one group stand, among those given only: by line `rank`, `lowest`, `tied`; and `apart(a, b)`. */
export function ranksOf(board, group) {
  if (!judged.has(board)) judged.set(board, new Map());
  const known = judged.get(board);
  const key = group.lines.join();
  if (!known.has(key)) known.set(key, computed(board, group));
  return known.get(key);
}

function computed(board, group) {
  const scored = group.lines.filter((line) => board.document.lines.ok[line]);
  const table = board.tableOf[scored[0]] ?? { fixed: true }; // a board may be kept without its records
  const found = { ranks: new Map(), apart: () => false, needed: () => Infinity, scored, fixed: Boolean(table.fixed) };
  found.finite = (line) => board.scores(line).some(Number.isFinite);
  if (!scored.length) return found;
  if (table.fixed) {
    const whole = board.document.lines.ranks;
    for (const line of scored) {
      const tied = scored.some((other) => other !== line && whole[other][0] === whole[line][0]);
      found.ranks.set(line, { rank: whole[line][0], lowest: whole[line][1], tied });
    }
    return found;
  }
  const places = scored.map((line) => board.placeOf[line]);
  const { shared, least } = board.pairs(table);
  const steps = places.map((at) => table.steps[at]);
  const result = standing(
    places.map((at) => table.scores[at].map(toNumber)),
    places.map((at) => table.classes[at]),
    table.lower,
    (i, j) => shared(places[i], places[j]),
    (i, j) => least(places[i], places[j]),
    steps.every((step) => step > 0) ? Math.max(...steps) : 0,
  );
  const order = new Map(scored.map((line, i) => [line, i]));
  scored.forEach((line, i) =>
    found.ranks.set(line, { rank: result.rank[i], lowest: result.lowest[i], tied: result.tied[i] }),
  );
  found.apart = (a, b) => Boolean(result.apart[order.get(a)]?.[order.get(b)]);
  found.needed = (a, b) => result.needed[order.get(a)][order.get(b)];
  return found;
}

/**
 * Which lines nothing beats at no higher cost: "on" the front, "behind" it, or "maybe", as finefuse.judge.board.pareto.
 *
 * Behind is what another is surely no dearer than and told apart from as better, by the ranking metric.
 */
export function fronts(board, lines, x, y) {
  const sign = y.better === "lower" ? -1 : 1;
  const groups = grouped(board, lines, true).map((group) => [new Set(group.lines), ranksOf(board, group)]);
  const apart = (a, b) => groups.some(([own, found]) => own.has(a) && own.has(b) && found.apart(a, b));
  const points = lines.map((line) => {
    const cost = board.number(x.id, line);
    const [low, high] = x.ends ? (x.ends[line] ?? [NaN, NaN]) : x.form === "count" ? [cost, cost] : [0, Infinity];
    return { line, cost, low, high, score: sign * board.number(y.id, line), ranking: y.id === board.rankedBy(line) };
  });
  const beats = (p, q) => p.cost <= q.cost && p.score >= q.score && (p.cost < q.cost || p.score > q.score);
  const surely = (p, q) => p.ranking && p.high <= q.low && p.score > q.score && apart(p.line, q.line);
  const place = (q) => (points.some((p) => surely(p, q)) ? "behind" : points.some((p) => beats(p, q)) ? "maybe" : "on");
  return new Map(points.map((q) => [q.line, place(q)]));
}

/** What the shown table can tell apart, in a sentence; "" for fewer than two scored lines. */
export function resolution(standing) {
  const lines = standing.scored.filter((line) => standing.finite(line));
  if (lines.length < 2 || standing.fixed) return "";
  const apart = lines.slice(1).filter((line, i) => standing.apart(lines[i], line)).length;
  const needed = lines.flatMap((a, i) => lines.slice(0, i).map((b) => standing.needed(a, b))).filter(Number.isFinite);
  if (!needed.length) return "Nothing can be told apart: no two lines have two seeds in common.";
  needed.sort((a, b) => a - b);
  const half = Math.floor(needed.length / 2);
  const median = needed.length % 2 ? needed[half] : (needed[half - 1] + needed[half]) / 2;
  return `${apart} of ${lines.length - 1} neighbours can be told apart; two lines must differ by ${median.toFixed(4)} (the median of all pairs).`;
}

/** Two lines of one table, a minus b over their common seeds: as `finefuse report --pair` has it. */
export function paired(board, a, b) {
  const [table, other] = [board.tableOf[a], board.tableOf[b]];
  if (!table || table !== other) return null;
  const [i, j] = [board.placeOf[a], board.placeOf[b]];
  const [ours, theirs] = [board.scores(a), board.scores(b)];
  const common = table.seeds.map((_, s) => s).filter((s) => Number.isFinite(ours[s]) && Number.isFinite(theirs[s]));
  if (!common.length) return null;
  const differences = common.map((s) => ours[s] - theirs[s]);
  const { shared, least, single, differing } = board.pairs(table);
  const half = scoreHalf(differences, shared(i, j), least(i, j), single(i, j));
  const difference = mean(differences);
  const better = difference < 0 === table.lower ? "a is better" : "b is better";
  return {
    metric: table.metric,
    lower: table.lower,
    a: mean(common.map((s) => ours[s])),
    b: mean(common.map((s) => theirs[s])),
    difference,
    half,
    verdict: Math.abs(difference) > half ? better : "can't tell",
    seeds: common.map((s) => ({ seed: table.seeds[s], a: ours[s], b: theirs[s], ...exact(table, differing[s], i, j, s) })),
  };
}

/** McNemar's exact test of one seed: examples that only one of the two has right. */
function exact(table, differing, i, j, seed) {
  const [ours, theirs] = [table.right?.[i][seed], table.right?.[j][seed]];
  const apart = i === j ? 0 : differing?.(i, j);
  if (!ours || !theirs || apart === undefined || apart === 2 ** 32 - 1) return { p: NaN };
  const onlyA = (apart + ours[0] - theirs[0]) / 2;
  return { onlyA, onlyB: apart - onlyA, of: ours[1], p: apart ? mcnemar(onlyA, apart - onlyA) : NaN };
}

/** The lines in clusters of data sets that have most of their entrants in common, the largest first. */
export function clusters(board, lines) {
  const found = [];
  const key = (line) => `${board.names[line]}\n${board.text("backbone", line)}`;
  for (const dataset of new Set(lines.map((line) => board.text("dataset", line)))) {
    const own = lines.filter((line) => board.text("dataset", line) === dataset && board.tableOf[line]);
    const entrants = new Set(own.map(key));
    const alike = (cluster) => 2 * [...entrants].filter((one) => cluster.entrants.has(one)).length > Math.max(entrants.size, cluster.entrants.size);
    const cluster = found.find(alike);
    if (cluster) {
      cluster.datasets.push(dataset);
      cluster.lines.push(...own);
      entrants.forEach((one) => cluster.entrants.add(one));
    } else if (own.length) found.push({ datasets: [dataset], lines: own, entrants });
  }
  return found.sort((a, b) => b.lines.length - a.lines.length);
}

/**
 * In what share of data sets (or of seeds, where there is one data set) each entrant beats each other; a tie is half.
 *
 * An entrant is a strategy of a pool on a backbone. Those without a score everywhere are left out, and named.
 */
export function winRates(board, lines) {
  const datasets = [...new Set(lines.map((line) => board.text("dataset", line)))];
  const entrants = new Map();
  for (const line of lines) {
    const key = JSON.stringify([board.names[line], board.text("backbone", line)]);
    if (!entrants.has(key)) entrants.set(key, { name: board.names[line], backbone: board.text("backbone", line), lines: new Map() });
    entrants.get(key).lines.set(board.text("dataset", line), line);
  }
  const seeds = new Set(lines.flatMap((line) => board.seeds(line)));
  const overSeeds = datasets.length === 1;
  const all = [...entrants.values()].map((entrant) => ({
    ...entrant,
    values: overSeeds ? bySeed(board, entrant.lines.get(datasets[0]), [...seeds]) : datasets.map((name) => score(board, entrant.lines.get(name))),
  }));
  const whole = all.filter((entrant) => entrant.values.every((value) => !Number.isNaN(value)));
  const wins = whole.map((a) => whole.map((b) => (a === b ? NaN : share(a.values, b.values))));
  const average = wins.map((row) => mean(row.filter((value) => !Number.isNaN(value))));
  const order = whole.map((_, i) => i).sort((i, j) => average[j] - average[i]);
  return {
    over: overSeeds ? "seeds" : "data sets",
    count: overSeeds ? seeds.size : datasets.length,
    entrants: order.map((i) => ({ ...whole[i], average: average[i] })),
    wins: order.map((i) => order.map((j) => wins[i][j])),
    leftOut: all.length - whole.length,
  };
}

function share(ours, theirs) {
  const largest = Math.max(...ours.map(Math.abs), ...theirs.map(Math.abs), 0);
  return mean(ours.map((value, i) => (Math.abs(value - theirs[i]) <= 1e-9 * largest ? 0.5 : value > theirs[i] ? 1 : 0)));
}

/** The mean score of a line, higher being better; NaN if it has none. */
function score(board, line) {
  const table = line === undefined ? null : board.tableOf[line];
  if (!table) return NaN;
  const value = mean(board.scores(line).filter(Number.isFinite));
  return table.lower ? -value : value;
}

function bySeed(board, line, seeds) {
  const table = line === undefined ? null : board.tableOf[line];
  if (!table) return seeds.map(() => NaN);
  const scores = board.scores(line);
  return seeds.map((seed) => (scores[table.seeds.indexOf(seed)] ?? NaN) * (table.lower ? -1 : 1));
}
