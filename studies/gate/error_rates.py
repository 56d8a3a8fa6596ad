"""How often the gate fails where nothing changed, and what it catches: python studies/gate/error_rates.py [TIMES].

Simulates comparisons of 42 cells (14 lines, three seeds) or 40 lines of one seed on one test set of 360 examples, and
prints the table of README.md. A thousand of each take about a minute on one core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from finefuse.judge.gate.error_rate import SHARES, adjusted
from finefuse.judge.gate.examples import LEAD
from finefuse.judge.gate.flips import Change, Total, joint_test

N = 360
ALPHA = 0.05
Net = NDArray[np.int64]
Make = Callable[[np.random.Generator], Net]


def flips(cells: int, each_way: float, loss: float = 0.0, only: Sequence[int] | None = None) -> Make:
    """Independent flips, and a loss on top of them in some cells, or in all."""

    def make(rng: np.random.Generator) -> Net:
        net = (rng.random((cells, N)) < each_way).astype(int) - (rng.random((cells, N)) < each_way)
        at = list(range(cells) if only is None else only)
        net[at] -= rng.random((len(at), N)) < loss
        return net.clip(-1, 1)

    return make


def fragile(cells: int, share: float, *, alike: bool) -> Make:
    """Flips of 2 % that happen to a share of the examples only, each in one direction everywhere, or in any."""

    def make(rng: np.random.Generator) -> Net:
        directions = rng.choice([-1, 1], N if alike else (cells, N))
        return (rng.random((cells, N)) < 0.02 / share) * (rng.random(N) < share) * directions

    return make


def inherited(cells: int, points: float) -> Make:
    """Flips of 1 % each way, and a shift that all cells have from one ancestor, with a standard deviation in points."""

    def make(rng: np.random.Generator) -> Net:
        shift = rng.normal(0, points / 100)
        lost = rng.random(N) < abs(shift)
        return (flips(cells, 0.01)(rng) + np.where(lost, np.sign(shift), 0).astype(int)).clip(-1, 1)

    return make


def joint(net: Net, seeds: int, *, fed: bool = False) -> bool:
    """Whether the gate finds a loss anywhere; `fed` if all comes from one pretrained network of other bits."""
    cells = range(len(net))
    if fed:
        totals = [Total((i,), tuple(j for j in cells if j != i)) for i in cells]
    else:
        starts = range(0, len(net), seeds) if seeds > 1 else ()
        totals = [Total(tuple(cells), lead=LEAD["comparison"])]
        totals += [Total(tuple(range(i, i + seeds)), lead=LEAD["line"]) for i in starts]
        totals += [Total((i,)) for i in cells]
    level = ALPHA * SHARES["examples"]
    return bool((joint_test([Change("", one.astype(float)) for one in net], totals, level).worse <= level).any())


def by_cell(net: Net, seeds: int) -> bool:
    """Whether McNemar's test of each cell, two-sided and with Holm's correction, finds a loss: the former gate."""
    del seeds
    lost, won = (net < 0).sum(1), (net > 0).sum(1)
    ps = np.minimum(1, 2 * stats.binom.cdf(np.minimum(lost, won), lost + won, 0.5)).tolist()
    found = adjusted(ps, [0.0] * len(ps), ALPHA)
    return any(p <= ALPHA and a > b for p, a, b in zip(found, lost, won, strict=True))


def added_up(net: Net, seeds: int) -> bool:
    """Whether McNemar's test of all answers together finds a loss, as if cells were independent."""
    del seeds
    lost, won = int((net < 0).sum()), int((net > 0).sum())
    return bool(stats.binom.cdf(won, lost + won, 0.5) <= ALPHA)


def by_t(net: Net, seeds: int) -> bool:
    """Whether Student's t test of each example's net change over all cells finds a loss: one test, two-sided."""
    del seeds
    found = stats.ttest_1samp(net.sum(0), 0)
    return bool(found.pvalue <= ALPHA and found.statistic < 0)


SCENES: dict[str, tuple[Make, int]] = {
    "nothing, independent flips": (flips(42, 0.01), 3),
    "nothing, one example in ten is fragile, alike in all cells": (fragile(42, 0.1, alike=True), 3),
    "nothing, one in thirty is fragile, alike in all cells": (fragile(42, 1 / 30, alike=True), 3),
    "nothing, one in ten is fragile, in any direction": (fragile(42, 0.1, alike=False), 3),
    "every cell half a point worse, 40 lines of one seed": (flips(40, 0.01, 0.005), 1),
    "every cell 1 point worse, 40 lines of one seed": (flips(40, 0.01, 0.01), 1),
    "one line of 14 loses 2 points on three seeds": (flips(42, 0.01, 0.02, range(3)), 3),
    "one cell of 40 loses 2 points, flips of 0.25 % each way": (flips(40, 0.0025, 0.02, [0]), 1),
    "a shift from one ancestor, sd 1 point": (inherited(42, 1), 3),
}
GATES = {"the gate": joint, "by cell (before)": by_cell, "all counts": added_up, "t of net changes": by_t}


def main(times: int) -> None:
    """Print how often each way to test fails each scene, in per cent."""
    print(f"| what changed | {' | '.join(GATES)} | the gate, if all has one ancestor of other bits |")
    print(f"|:--|{'--:|' * (len(GATES) + 1)}")
    for name, (make, seeds) in SCENES.items():
        rng = np.random.default_rng(0)
        nets = [make(rng) for _ in range(times)]
        found = [np.mean([gate(net, seeds) for net in nets]) for gate in GATES.values()]
        found.append(np.mean([joint(net, seeds, fed=True) for net in nets]))
        print(f"| {name} | {' | '.join(f'{100 * share:.1f}' for share in found)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
