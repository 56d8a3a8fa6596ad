// How much the lines of a table vary over seeds: finefuse.judge.spread in JavaScript. Scores are NaN where there are none.

import { logBeta } from "./special.js";

const LEAST = 1e-4;
const SCALES = Array.from({ length: 12 }, (_, i) => 0.1 * 30 ** (i / 11));

/** Degrees of freedom that an expected variance may be worth, and how far each number is believed beforehand. */
export const COMMON = prior([1, 2, 4, 8, 16, 64], [1, 1, 1, 0.5, 0.25, 0.1]);
export const EXPECTED = prior([0.1, 1, 4], [0.4, 0.4, 0.2]);

function prior(freedoms, chances) {
  const total = chances.reduce((sum, chance) => sum + chance, 0);
  return { freedoms, chances: chances.map((chance) => chance / total) };
}

/** How far each number of degrees of freedom is believed after variances, as ratios to the expected one (F, Bayes). */
export function believed(prior, ratios, freedom, scales) {
  const logs = prior.freedoms.map((d) =>
    scales.map((scale) => {
      let sum = 0;
      for (let i = 0; i < ratios.length; i++) {
        const f = freedom[i];
        const x = Math.max(ratios[i], LEAST) / scale;
        sum += (f / 2) * Math.log(f / d) - logBeta(f / 2, d / 2) - Math.log(scale);
        sum += (f / 2 - 1) * Math.log(x) - ((f + d) / 2) * Math.log1p((f * x) / d);
      }
      return sum;
    }),
  );
  const most = Math.max(...logs.flat());
  const each = logs.map((row, i) => row.reduce((sum, log) => sum + Math.exp(log - most), 0) * prior.chances[i]);
  const total = each.reduce((sum, value) => sum + value, 0);
  return each.map((value) => value / total);
}

/** Each line's own variance, what it is worth, the common one, and how far each worth of that is believed. */
export function spreadOf(scores) {
  const { residuals, left } = twoWay(scores);
  const several = scores.map((row) => row.filter(Number.isFinite).length > 1);
  const freedom = left.map((row, i) => (several[i] ? sum(row) : 0)).map((value) => (value < 1e-9 ? 0 : value));
  const own = residuals.map((row, i) => (freedom[i] > 0 ? sum(row.map((r) => r * r)) / freedom[i] : 0));
  const total = sum(freedom);
  const common = total > 0 ? sum(own.map((value, i) => value * freedom[i])) / total : 0;
  const used = own.map((_, i) => i).filter((i) => freedom[i] > 0);
  const ratios = used.map((i) => own[i] / common);
  const worth = used.map((i) => freedom[i]);
  const weights = common > 0 ? believed(COMMON, ratios, worth, SCALES) : COMMON.chances;
  return { own, freedom, common, total, weights };
}

/** The residuals about line means and seed effects, and the share of each score's variance left in its residual. */
function twoWay(scores) {
  const seeds = scores[0].length;
  const there = scores.map((row) => row.map((score) => (Number.isFinite(score) ? 1 : 0)));
  const count = there.map((row) => Math.max(sum(row), 1));
  const centred = scores.map((row, i) => {
    const middle = sum(row.map((score, j) => (there[i][j] ? score : 0))) / count[i];
    return row.map((score, j) => (there[i][j] ? score - middle : 0));
  });
  const columns = Array.from({ length: seeds }, (_, j) => j);
  const laplacian = columns.map((a) =>
    columns.map((b) => {
      const shared = sum(there.map((row, i) => (row[a] * row[b]) / count[i]));
      return (a === b ? sum(there.map((row) => row[a])) : 0) - shared;
    }),
  );
  const inverse = pseudoInverse(laplacian);
  const totals = columns.map((j) => sum(centred.map((row) => row[j])));
  const effects = inverse.map((row) => sum(row.map((value, j) => value * totals[j])));
  const residuals = [];
  const left = [];
  scores.forEach((_, i) => {
    const share = there[i].map((value) => value / count[i]);
    const mixed = columns.map((j) => sum(share.map((value, k) => value * inverse[k][j])));
    const offset = sum(share.map((value, j) => value * effects[j]));
    const quadratic = sum(mixed.map((value, j) => value * share[j]));
    residuals.push(columns.map((j) => there[i][j] * (centred[i][j] - effects[j] + offset)));
    left.push(columns.map((j) => there[i][j] * (1 - 1 / count[i] - (inverse[j][j] - 2 * mixed[j] + quadratic))));
  });
  return { residuals, left };
}

function sum(values) {
  let total = 0;
  for (const value of values) total += value;
  return total;
}

/** The pseudo-inverse of a symmetric matrix, by Jacobi's rotations. */
function pseudoInverse(matrix) {
  const n = matrix.length;
  const a = matrix.map((row) => row.slice());
  const v = matrix.map((_, i) => matrix.map((_, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) off = Math.max(off, Math.abs(a[p][q]));
    if (off < 1e-300) break;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) rotate(a, v, p, q);
  }
  const values = a.map((row, i) => row[i]);
  const least = 1e-10 * Math.max(...values.map(Math.abs), 0);
  const kept = values.map((_, i) => i).filter((i) => Math.abs(values[i]) > least);
  return v.map((row) => v.map((other) => sum(kept.map((k) => (row[k] * other[k]) / values[k]))));
}

function rotate(a, v, p, q) {
  if (!a[p][q]) return;
  const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  for (let k = 0; k < a.length; k++) [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
  for (let k = 0; k < a.length; k++) [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
  for (let k = 0; k < v.length; k++) [v[k][p], v[k][q]] = [c * v[k][p] - s * v[k][q], s * v[k][p] + c * v[k][q]];
  a[p][q] = a[q][p] = 0;
}
