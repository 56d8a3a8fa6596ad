"""How often ranks and intervals are wrong: simulated tables of lines and seeds, judged as a board judges them.

    python studies/statistics/error_rates.py [tables]

prints the tables of docs/statistics.md, from 400 simulated tables a cell unless another number is given.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np

from finefuse.judge.intervals import score_half
from finefuse.judge.noise import no_noise, noise_of
from finefuse.judge.ranks import standing, standing_of_means
from finefuse.judge.statistics import paired_p

LINES, SEEDS, SPREADS = (2, 5, 20, 50), (2, 3, 5, 10), (0.0, 0.7)
AWAY = 6.0
"""How far the one line that differs is from the others, in the median standard deviation over seeds."""


def rank_errors(lines: int, seeds: int, spread: float, tables: int) -> tuple[float, float, float]:
    """How many tables of equal lines tell any apart; with one better line, how many pairs with it, and all pairs.

    All are shares. `spread` is the standard deviation of the logarithm of the lines' standard deviations.
    """
    rng = np.random.default_rng([lines, seeds, int(10 * spread)])
    wrong = pairs = whole = 0.0
    for _ in range(tables):
        deviations = np.exp(spread * rng.standard_normal((lines, 1)))
        scores = deviations * rng.standard_normal((lines, seeds)) + 2 * rng.standard_normal(seeds)
        wrong += apart(scores).any()
        scores[0] += AWAY
        found = apart(scores)[0, 1:]
        pairs += found.mean()
        whole += found.all()
    return wrong / tables, pairs / tables, whole / tables


def uncorrected(lines: int, seeds: int, spread: float, tables: int) -> float:
    """How many tables of equal lines show a difference from their leader if each pair has a t test of its own."""
    rng = np.random.default_rng([lines, seeds, int(10 * spread)])
    wrong = 0
    for _ in range(tables):
        deviations = np.exp(spread * rng.standard_normal((lines, 1)))
        scores = deviations * rng.standard_normal((lines, seeds)) + 2 * rng.standard_normal(seeds)
        behind = np.delete(scores[scores.mean(1).argmax()] - scores, scores.mean(1).argmax(), 0)
        wrong += any(paired_p(differences) < 0.05 for differences in behind.tolist())
    return wrong / tables


def apart(scores: np.ndarray) -> np.ndarray:
    """Which lines of a table (lines, seeds) are told apart."""
    n = len(scores)
    return standing(scores, np.zeros(n, np.int64), lower=False, noise=no_noise(n)).apart


def unpaired(lines: int, seeds: int, spread: float, tables: int, *, effect: float) -> tuple[float, float]:
    """The same of lines of which only means and variances are known: false tables, and pairs told apart, as shares.

    `effect` is the standard deviation of what seeds do to all lines alike.
    """
    rng = np.random.default_rng([lines, seeds, int(10 * spread), 3])
    wrong = pairs = 0.0
    for _ in range(tables):
        deviations = np.exp(spread * rng.standard_normal((lines, 1)))
        scores = deviations * rng.standard_normal((lines, seeds)) + effect * rng.standard_normal(seeds)
        for away in (0.0, AWAY):
            means, variances = scores.mean(1), scores.var(1, ddof=1)
            means[0] += away
            found = standing_of_means(means, variances, np.full(lines, seeds), lower=False).apart
            wrong += found.any() and not away
            pairs += found[0, 1:].mean() if away else 0.0
    return wrong / tables, pairs / tables


def coverage(seeds: int, ratio: float, *, same: bool, lines: int, examples: int = 400) -> tuple[float, float]:
    """How often the interval of a score holds the truth, and its median half width over 1.96 standard errors.

    Scores are shares of right examples, of which the chance is 0.8 on average and differs between examples; `ratio` is
    the standard deviation that seeds add, over that of the test examples. With `same`, all seeds have the same ones.
    """
    rng = np.random.default_rng([seeds, int(10 * ratio), same, 7])
    by_seed = ratio * np.sqrt(0.16 / examples)
    held, widths, means = 0, [], []
    for _ in range(lines):
        hard = rng.beta(1.6, 0.4, (1 if same else seeds, examples))
        chances = np.clip(hard + by_seed * rng.standard_normal((seeds, 1)), 0, 1)
        right = (rng.random((seeds, examples)) < chances).astype(np.float32)
        noise = noise_of([([0], row[None]) for row in right], 1, same=same)
        parts = (float(part[0]) for part in (noise.own_shared, noise.own_least, noise.own_single))
        widths.append(score_half(right.mean(1).astype(np.float64), *parts))
        means.append(right.mean())
        held += abs(means[-1] - 0.8) <= widths[-1]
    return held / lines, float(np.median(widths) / (1.96 * np.std(means)))


def main(tables: int) -> None:
    """Print both tables."""
    print("| lines | seeds | log-sd | false, % | pairs told apart, % | from all others, % |\n|---|---|---|---|---|---|")
    for spread, lines, seeds in product(SPREADS, LINES, SEEDS):
        shares = " | ".join(f"{100 * share:.1f}" for share in rank_errors(lines, seeds, spread, tables))
        print(f"| {lines} | {seeds} | {spread} | {shares} |", flush=True)
    for spread in SPREADS:
        share = uncorrected(20, 3, spread, tables)
        print(f"\n20 lines, 3 seeds, log-sd {spread}, uncorrected t tests: false in {100 * share:.1f} %")
    print("\n| lines | seeds | log-sd | seeds' effect | false, % | pairs told apart, % |\n|---|---|---|---|---|---|")
    for effect, spread, lines, seeds in product((0.0, 2.0), SPREADS, (2, 5, 20), (3, 5)):
        wrong, pairs = unpaired(lines, seeds, spread, tables, effect=effect)
        print(f"| {lines} | {seeds} | {spread} | {effect} | {100 * wrong:.1f} | {100 * pairs:.1f} |", flush=True)
    print("\n| test examples | seeds | seeds' sd over examples' | holds, % | width |\n|---|---|---|---|---|")
    for same, seeds, ratio in product((True, False), (1, *SEEDS), (0.0, 0.5, 1.0, 2.0, 5.0)):
        if seeds > 1 or not ratio:
            held, width = coverage(seeds, ratio, same=same, lines=tables)
            print(
                f"| {'the same' if same else 'others'} | {seeds} | {ratio} | {100 * held:.1f} | {width:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 400)
