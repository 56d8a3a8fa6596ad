// Functions of statistics that JavaScript lacks, to about 14 digits, and small helpers for arrays.

const TINY = 1e-300;
const LANCZOS = [
  0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
  12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
];

/** The logarithm of the gamma function, for x > 0 (Lanczos). */
export function logGamma(x) {
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  const shifted = x - 1;
  const base = shifted + 7.5;
  const series = LANCZOS.slice(1).reduce((sum, c, at) => sum + c / (shifted + at + 1), LANCZOS[0]);
  return 0.5 * Math.log(2 * Math.PI) + (shifted + 0.5) * Math.log(base) - base + Math.log(series);
}

/** The logarithm of the beta function. */
export function logBeta(a, b) {
  return logGamma(a) + logGamma(b) - logGamma(a + b);
}

/** The regularised incomplete gamma function P(a, x): by its series, or its continued fraction (Lentz). */
export function gammaP(a, x) {
  if (x <= 0) return 0;
  const front = Math.exp(a * Math.log(x) - x - logGamma(a));
  if (x < a + 1) {
    let term = 1 / a;
    let sum = term;
    for (let n = 1; n < 10000 && term > sum * 1e-17; n++) {
      term *= x / (a + n);
      sum += term;
    }
    return front * sum;
  }
  let b = x + 1 - a;
  let c = 1 / TINY;
  let d = 1 / b;
  let h = d;
  for (let n = 1; n < 10000; n++) {
    const an = -n * (n - a);
    b += 2;
    d = 1 / guarded(an * d + b);
    c = guarded(b + an / c);
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-16) break;
  }
  return 1 - front * h;
}

function guarded(value) {
  return Math.abs(value) < TINY ? TINY : value;
}

/** The x at which P(a, x) is p, for 0 < p < 1: Halley's method. */
export function inverseGammaP(a, p) {
  let x;
  if (a > 1) {
    const z = inverseNormal(p);
    x = Math.max(1e-3, a * (1 - 1 / (9 * a) + z / (3 * Math.sqrt(a))) ** 3);
  } else {
    const t = 1 - a * (0.253 + a * 0.12);
    x = p < t ? (p / t) ** (1 / a) : 1 - Math.log(1 - (p - t) / (1 - t));
  }
  for (let n = 0; n < 30 && x > 0; n++) {
    const error = gammaP(a, x) - p;
    const density = Math.exp((a - 1) * Math.log(x) - x - logGamma(a));
    const newton = error / density;
    const step = newton / (1 - 0.5 * Math.min(1, newton * ((a - 1) / x - 1)));
    const next = x - step;
    x = next > 0 ? next : x / 2;
    if (Math.abs(step) < 1e-14 * x) break;
  }
  return x;
}

/** The standard normal distribution function. */
export function normal(z) {
  const half = 0.5 * gammaP(0.5, (z * z) / 2);
  return z < 0 ? 0.5 - half : 0.5 + half;
}

/** The standard normal quantile (Newton's method on the distribution function). */
export function inverseNormal(p) {
  const tail = Math.sqrt(-2 * Math.log(Math.min(p, 1 - p)));
  let z = tail - (2.30753 + tail * 0.27061) / (1 + tail * (0.99229 + tail * 0.04481));
  if (p < 0.5) z = -z;
  for (let n = 0; n < 8; n++) {
    const step = (normal(z) - p) / (Math.exp(-0.5 * z * z) / Math.sqrt(2 * Math.PI));
    if (!Number.isFinite(step)) break;
    z -= step;
    if (Math.abs(step) < 1e-15) break;
  }
  return z;
}

/** The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz). */
export function betaI(a, b, x) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logBeta(a, b));
  return x < (a + 1) / (a + b + 2) ? (front * betaFraction(a, b, x)) / a : 1 - (front * betaFraction(b, a, 1 - x)) / b;
}

function betaFraction(a, b, x) {
  let c = 1;
  let d = 1 / guarded(1 - ((a + b) * x) / (a + 1));
  let h = d;
  for (let m = 1; m < 10000; m++) {
    let factor = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / guarded(1 + factor * d);
    c = guarded(1 + factor / c);
    h *= d * c;
    factor = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / guarded(1 + factor * d);
    c = guarded(1 + factor / c);
    h *= d * c;
    if (Math.abs(d * c - 1) < 1e-16) break;
  }
  return h;
}

/** The chance that Student's t with so many degrees of freedom lies farther from 0 than `t`, on either side. */
export function studentTails(freedom, t) {
  return betaI(freedom / 2, 0.5, freedom / (freedom + t * t));
}

const students = new Map();

/** The `t` beyond which, on either side, Student's t lies with the chance `tails`. */
export function studentQuantile(freedom, tails = 0.05) {
  const key = `${freedom} ${tails}`;
  if (!students.has(key)) {
    let [low, high] = [0, 1];
    while (studentTails(freedom, high) > tails) high *= 2;
    for (let n = 0; n < 200 && high - low > 1e-15 * high; n++) {
      const middle = (low + high) / 2;
      if (studentTails(freedom, middle) > tails) low = middle;
      else high = middle;
    }
    students.set(key, (low + high) / 2);
  }
  return students.get(key);
}

/** The two-sided p-value of McNemar's exact test: `b` and `c` examples are right in only one of two. */
export function mcnemar(b, c) {
  if (!(b + c)) return 1;
  const fewer = Math.min(b, c);
  return Math.min(1, 2 * betaI(b + c - fewer, fewer + 1, 0.5));
}

/** A mean over finite numbers; NaN if there are none. */
export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Rounded to so many decimals, halves to the even digit, as numpy rounds. */
export function roundEven(value, decimals) {
  const scale = 10 ** decimals;
  const scaled = value * scale;
  const down = Math.floor(scaled);
  const rest = scaled - down;
  const whole = rest > 0.5 || (rest === 0.5 && down % 2) ? down + 1 : down;
  return whole / scale;
}
