"""How often runs in pairs raise a false alarm about time, and what they catch: python studies/gate/pairs.py [TIMES].

Simulates the seconds of 14 lines and of all jobs together, and prints the table of README.md. What slows the machine
for a while is shared by both runs of a pair but for a tenth of its variance; on top of it lines have noise of their
own, and all jobs together as much as one line.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import numpy as np

from finefuse.judge.gate.error_rate import IN_PAIRS
from finefuse.judge.gate.pairs import LIMITS, TOTAL, paired
from finefuse.judge.gate.policy import Policy
from finefuse.judge.gate.questions import Question, settle

LINES, APART = 14, 0.1
POLICY = Policy(shares=IN_PAIRS)
LIMIT = LIMITS["train_s"]
SCENES = {
    "a quiet machine: 2 % between runs, 1 % within": (0.02, 0.01),
    "a shared runner: 5 %, 1 %": (0.05, 0.01),
    "hosted runners: 20 %, 1 %": (0.2, 0.01),
}
CHANGES = {"nothing": 1.0, "2 %": 1.02, "5 %": 1.05, "10 %": 1.1, "20 %": 1.2}


def ratios(rng: np.random.Generator, pairs: int, between: float, within: float) -> np.ndarray:
    """Logarithms of ratios where nothing changed, (1 + LINES, pairs): of all jobs, then of each line."""
    moments = rng.normal(0, between * math.sqrt(2 * APART), pairs)
    return moments + rng.normal(0, within * math.sqrt(2), (1 + LINES, pairs))


def found(logarithms: np.ndarray) -> tuple[bool, bool]:
    """Whether the gate calls all jobs together slower, and any line."""
    questions = [
        Question("line", "", "train_s", math.nan, math.nan, replace(tested, said=""), LIMIT)
        for tested in (paired(list(own), math.log1p(LIMIT.amount)) for own in logarithms)
    ]
    whole = settle("time", questions[:1], POLICY, part=TOTAL)
    lines = settle("time", questions[1:], POLICY, part=1 - TOTAL)
    total, any_line = (any(one.verdict.judgement == "regressed" for one in answers) for answers in (whole, lines))
    return total, any_line


def main(times: int) -> None:
    """Print how often all jobs together are called slower, and any line, in per cent."""
    print(f"| machine | pairs | {' | '.join(f'{change} slower' for change in CHANGES)} | one line of 14 20 % slower |")
    print(f"|:--|--:|{'--:|' * (len(CHANGES) + 1)}")
    for name, noise in SCENES.items():
        for pairs in (3, 5, 10):
            rng = np.random.default_rng(0)
            told = []
            for factor in CHANGES.values():
                seen = np.mean([found(ratios(rng, pairs, *noise) + math.log(factor)) for _ in range(times)], 0)
                told.append(" / ".join(f"{100 * share:.1f}" for share in seen))
            one = np.zeros((1 + LINES, 1))
            one[1] = math.log(1.2)
            seen = np.mean([found(ratios(rng, pairs, *noise) + one) for _ in range(times)], 0)
            print(f"| {name} | {pairs} | {' | '.join(told)} | {100 * seen[1]:.1f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
