// Which lines of a table can be told apart, and their ranks: finefuse.judge.ranks and .intervals in JavaScript.

import { inverseNormal, mean, roundEven, studentQuantile } from "./special.js";
import { COMMON, EXPECTED, believed, spreadOf } from "./spread.js";
import { rangeQuantile } from "./studentised.js";

const ROUNDING = 1e-9;
const HALVES = 1e-7; // so that no half is rounded by its last bit
const TWICE = 2;

/**
 * How lines stand, in the order given: `rank`, `lowest` and `tied` (lines); `apart` and `needed` (lines x lines).
 *
 * `scores` are (lines x seeds), NaN where there is none. `classes`: lines of a lower class are better than all of a
 * higher one. `shared(i, j)` and `least(i, j)` are what test examples leave open about the difference of two lines.
 */
export function standing(scores, classes, lower, shared, least, step) {
  const n = scores.length;
  if (!n) return { rank: [], lowest: [], tied: [], apart: [], needed: [], difference: [] };
  const spread = spreadOf(scores);
  const largest = Math.max(0, ...scores.flat().filter(Number.isFinite).map(Math.abs));
  const difference = square(n);
  const needed = square(n, Infinity);
  const common = pairedMeans(scores, difference);
  const bySeeds = seedsPart(spread, least, step);
  const lines = Math.max(spread.freedom.filter((freedom) => freedom > 0).length, 2);
  const known = rangeQuantile(lines, Infinity) ** 2 / 2;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      if (!(spread.freedom[i] > 0 && spread.freedom[j] > 0 && common[i][j] > 1)) continue;
      const squared = bySeeds(i, j) ** 2 / common[i][j] + known * shared(i, j);
      needed[i][j] = needed[j][i] = Math.max(Math.sqrt(squared), ROUNDING * largest);
    }
  }
  return ranksOf(difference, needed, classes, lower);
}

function ranksOf(difference, needed, classes, lower) {
  const n = needed.length;
  const apart = square(n, false);
  const rank = Array(n).fill(1);
  const lowest = Array(n).fill(n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < n; j++) {
      const other = classes[i] !== classes[j];
      apart[i][j] = other || Math.abs(difference[i][j]) > needed[i][j];
      if (!apart[i][j]) continue;
      const better = other ? classes[i] < classes[j] : difference[i][j] < 0 === lower;
      if (better) rank[j] += 1;
      else lowest[j] -= 1;
    }
  }
  const counts = new Map();
  for (const place of rank) counts.set(place, (counts.get(place) ?? 0) + 1);
  return { rank, lowest, tied: rank.map((place) => counts.get(place) > 1), apart, difference, needed };
}

function square(n, value = 0) {
  return Array.from({ length: n }, () => Array(n).fill(value));
}

/** Writes the mean difference of every pair over the seeds both have; returns the number of these. */
function pairedMeans(scores, difference) {
  const common = square(scores.length);
  scores.forEach((row, i) => {
    for (let j = 0; j <= i; j++) {
      let [ours, theirs, count] = [0, 0, 0];
      for (let s = 0; s < row.length; s++) {
        if (!Number.isFinite(row[s]) || !Number.isFinite(scores[j][s])) continue;
        ours += row[s];
        theirs += scores[j][s];
        count += 1;
      }
      common[i][j] = common[j][i] = count;
      difference[i][j] = count ? (ours - theirs) / count : 0;
      difference[j][i] = -difference[i][j];
    }
  });
  return common;
}

/** By how much two lines must differ, times the root of their common seeds: the mean over how far each worth is believed. */
function seedsPart(spread, least, step) {
  const lines = Math.max(spread.freedom.filter((freedom) => freedom > 0).length, 2);
  const priors = COMMON.freedoms.map((d, k) => ({
    weight: spread.weights[k],
    shrunk: spread.freedom.map((f, i) => (d * spread.common + f * spread.own[i]) / (d + f)),
    quantile: spread.freedom.map((f) =>
      rangeQuantile(lines, Math.max(roundEven(Math.min(d + f, spread.total) + HALVES, 2), 0.5)),
    ),
  }));
  return (i, j) => {
    const floor = Math.max(least(i, j), (step * step) / 6);
    let found = 0;
    for (const { weight, shrunk, quantile } of priors) {
      const variance = Math.max(shrunk[i] + shrunk[j], floor);
      found += weight * Math.max(quantile[i], quantile[j]) * Math.sqrt(variance / 2);
    }
    return found;
  };
}

/** Half the width of the 95 % interval of a mean over seeds, with its variances of test examples; Infinity if unknown. */
export function scoreHalf(scores, shared, least, single) {
  const n = scores.length;
  const z = inverseNormal(0.975);
  if (!n || !scores.every(Number.isFinite)) return Infinity;
  if (Number.isNaN(single)) return student(scores).half || Infinity;
  if (n === 1) return z * Math.sqrt(single) || Infinity;
  const expected = TWICE * single;
  if (expected <= 0) return Infinity;
  const own = variance(scores);
  const weights = believed(EXPECTED, [own / expected], [n - 1], [1]);
  let seeds = 0;
  EXPECTED.freedoms.forEach((d, k) => {
    const shrunk = (d * expected + (n - 1) * own) / (d + n - 1);
    seeds += weights[k] * studentQuantile(d + n - 1) * Math.sqrt(shrunk / n);
  });
  return Math.sqrt(Math.max(seeds ** 2, (z * z * least) / n) + z * z * shared);
}

/** The mean of values and half the width of its Student t interval, infinite for fewer than two. */
export function student(values) {
  const n = values.length;
  if (n < 2) return { mean: n ? values[0] : NaN, half: Infinity };
  return { mean: mean(values), half: studentQuantile(n - 1) * Math.sqrt(variance(values) / n) };
}

function variance(values) {
  const middle = mean(values);
  return values.reduce((sum, value) => sum + (value - middle) ** 2, 0) / (values.length - 1);
}
