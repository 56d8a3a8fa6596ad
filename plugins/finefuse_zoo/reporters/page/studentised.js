// Quantiles of the studentised range, on the same grid as finefuse.judge.studentised.

import { inverseGammaP, inverseNormal, normal, studentQuantile } from "./special.js";

const LEVEL = 0.95;
const SPAN = 281; // ranges from 0 to 14 in steps of 0.05
const STEP = 0.05;
const QUANTILES = geometric(1, 400, 250);
const EDGES = [0, ...geometric(1e-9, 1e-3, 40), ...Array.from({ length: 250 }, (_, i) => 4e-3 + ((1 - 4e-3) * i) / 249)];
const cdfs = new Map();
const deviations = new Map();
const quantiles = new Map();
let below = null;

function geometric(first, last, count) {
  const ratio = Math.log(last / first) / (count - 1);
  return Array.from({ length: count }, (_, i) => first * Math.exp(ratio * i));
}

/** The 95 % quantile of the range of so many equal means over the standard error of one, known to `freedom` degrees. */
export function rangeQuantile(means, freedom) {
  if (means === 2) return (freedom === Infinity ? inverseNormal(0.975) : studentQuantile(freedom)) * Math.SQRT2;
  const key = `${means} ${freedom}`;
  if (!quantiles.has(key)) quantiles.set(key, freedom > 1e5 ? knownVariance(means) : estimatedVariance(means, freedom));
  return quantiles.get(key);
}

function knownVariance(means) {
  const cdf = rangeCdf(means);
  const at = cdf.findIndex((chance) => chance > LEVEL);
  return STEP * (at - 1 + (LEVEL - cdf[at - 1]) / (cdf[at] - cdf[at - 1]));
}

function estimatedVariance(means, freedom) {
  const cdf = rangeCdf(means);
  const shares = EDGES.slice(1).map((edge, i) => edge - EDGES[i]);
  const spread = deviationsOf(freedom);
  let before = 0;
  for (let at = 0; at < QUANTILES.length; at++) {
    let chance = 0;
    for (let i = 0; i < shares.length; i++) chance += shares[i] * interpolated(cdf, QUANTILES[at] * spread[i]);
    if (chance >= LEVEL) {
      if (!at) return QUANTILES[0];
      const part = (LEVEL - before) / (chance - before);
      return Math.exp(Math.log(QUANTILES[at - 1]) + part * Math.log(QUANTILES[at] / QUANTILES[at - 1]));
    }
    before = chance;
  }
  return QUANTILES[QUANTILES.length - 1];
}

/** Estimated standard deviations over the true one, in the middle of each share of their distribution. */
function deviationsOf(freedom) {
  if (!deviations.has(freedom)) {
    const middles = EDGES.slice(1).map((edge, i) => (edge + EDGES[i]) / 2);
    deviations.set(
      freedom,
      middles.map((share) => Math.sqrt((2 * inverseGammaP(freedom / 2, share)) / freedom)),
    );
  }
  return deviations.get(freedom);
}

function interpolated(cdf, range) {
  const at = range / STEP;
  const low = Math.floor(at);
  return low >= SPAN - 1 ? cdf[SPAN - 1] : cdf[low] + (cdf[low + 1] - cdf[low]) * (at - low);
}

/** The chance that so many standard normal numbers span no more than each range. */
function rangeCdf(means) {
  if (!cdfs.has(means)) {
    below ??= Array.from({ length: 601 }, (_, i) => normal(-22 + i * STEP)); // at all that is needed: -22 to 8
    const cdf = new Float64Array(SPAN);
    for (let z = 0; z <= 160; z++) {
      const value = -8 + z / 10;
      const density = (means * 0.1 * Math.exp((-value * value) / 2)) / Math.sqrt(2 * Math.PI);
      const top = 280 + 2 * z;
      for (let r = 0; r < SPAN; r++) cdf[r] += density * (below[top] - below[top - r]) ** (means - 1);
    }
    cdfs.set(means, cdf);
  }
  return cdfs.get(means);
}
