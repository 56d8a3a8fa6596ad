"""What a results folder can be asked, from Python: part of `finefuse.api`. Imports what it needs when it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finefuse.discovery.registry import Registry
from finefuse.records import read_results

if TYPE_CHECKING:
    from finefuse.judge.board.leaderboard import Leaderboard
    from finefuse.judge.compare import Comparison
    from finefuse.judge.overall import Overall
    from finefuse.judge.pairing import Pairing


def board(folder: str | Path) -> Leaderboard:
    """The leaderboard of a results folder, from its records; without any, as `leaderboard.json` has it.

    Args:
        folder: a results folder that `run` wrote, or one of which only the reports were kept.

    Raises:
        FinefuseError: if the folder can't be read.
    """
    from finefuse.judge.reports import report_folder

    return report_folder(Path(folder), Registry(), ()).board


def against(folder: str | Path, released: str | Path) -> Leaderboard:
    """One's own lines, marked, among the released ones of the same data sets and backbones.

    Args:
        folder: a results folder that `run` wrote.
        released: another one, such as `baselines/quick`.

    Raises:
        FinefuseError: if a folder can't be read, they have nothing in common, or their results can't be compared.
    """
    from finefuse.judge.against import against as judge

    return judge(Path(folder), Path(released))


def pair(folder: str | Path, a: str, b: str) -> Pairing:
    """Compare two lines of a results folder by data set and seed, on the same test examples.

    Args:
        folder: a results folder that `run` wrote.
        a: a strategy as on the board: `full`, `soup of POOL`, `full on BACKBONE`.
        b: another. Where both name a backbone, they are paired by data set only.

    Raises:
        FinefuseError: if the folder can't be read, a name is unknown or means several lines, both mean the same one,
            or the two have no seed in common.
    """
    from finefuse.judge.pairing import pair as judge

    return judge(read_results(Path(folder)).rows, a, b)


def overall(folder: str | Path, *, impute: str | None = None) -> Overall:
    """Rank all backbones, schemes and fusions of a results folder together, by data set and over data sets.

    Args:
        folder: a results folder that `run` wrote.
        impute: what stands in for scores that are not there: "worst", the worst of the data set; None to rank over data
            sets only if nothing is missing.

    Raises:
        FinefuseError: if the folder can't be read, or there is no such imputation.
    """
    from finefuse.judge.overall import overall as judge

    return judge(read_results(Path(folder)).rows, impute)


def compare(
    base: str | Path,
    new: str | Path,
    *,
    alpha: float | None = None,
    margin: float | str | None = None,
    resolve: float | str | None = None,
    fail_on: Mapping[str, float | str] | None = None,
    fatal: str | Sequence[str] = (),
    allow: str | Sequence[str] = (),
    noise: Mapping[str, float] | None = None,
) -> Comparison:
    """Compare two results folders: `passed` says whether the second may replace the first.

    What isn't given is as the suite's table `[gate]` says, or else as by default. Limits are texts such as "0.5pp" and
    "20%", or plain numbers.

    Args:
        base: the results folder to compare with.
        new: the results folder to judge.
        alpha: chance of a false alarm over all tests together; 0.05 by default.
        margin: a change of a metric that doesn't matter, even if it is significant; 0.001 by default.
        resolve: the loss of the ranking metric in all cells that must have been visible.
        fail_on: limits by measure, such as {"accuracy": "0.5pp", "flops": 0, "train_s": "20%"}; "off" for no judgement.
        fatal: more judgements that fail the comparison: "new", "inconclusive".
        allow: judgements and differences that don't: "not-comparable", "missing", "settings", "versions", "plan".
        noise: the standard deviation of the logarithm from run to run, for "train_s", "latency" and "memory".

    Raises:
        FinefuseError: if an option makes no sense, or a folder can't be read.
    """
    from finefuse.judge.compare import compare as judge

    words = {name: [one] if isinstance(one, str) else list(one) for name, one in (("fatal", fatal), ("allow", allow))}
    limits = {"alpha": alpha, "margin": margin, "resolve": resolve, "fail_on": fail_on, "noise": noise}
    return judge(Path(base), Path(new), **limits, **words)
