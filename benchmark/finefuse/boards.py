"""What the results folders of runs tell, from Python. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from finefuse.declare.choice import Choice, all_chosen
from finefuse.discovery.registry import Door, Registry
from finefuse.progress import BAD
from finefuse.records import read_results
from finefuse.types import Record, Ref

if TYPE_CHECKING:
    import pandas as pd

    from finefuse.judge.board.leaderboard import Leaderboard
    from finefuse.judge.compare import Comparison
    from finefuse.judge.overall import Overall
    from finefuse.judge.pairing import Pairing
    from finefuse.judge.site import Site


@dataclass(frozen=True)
class Run:
    """What a run gives back; a notebook shows its leaderboard."""

    folder: Path
    """The folder of the records and reports."""
    rows: Sequence[Record]
    """One flat record per planned job; `docs/records.md` lists the fields."""
    board: Leaderboard
    written: tuple[Path, ...] = ()
    """The reports."""
    complaints: tuple[str, ...] = ()
    """A sentence per reporter that failed."""

    @cached_property
    def records(self) -> pd.DataFrame:
        """The records as a table, one row per planned job."""
        from finefuse.judge.frame import to_frame

        return to_frame(self.rows)

    @property
    def bad(self) -> list[Record]:
        """The rows that are `failed`, `timeout`, `oom` or `blocked`."""
        return [row for row in self.rows if row["status"] in BAD]

    @property
    def ok(self) -> bool:
        """Whether every row is `ok` or `skipped` and every report was written."""
        return not self.bad and not self.complaints

    def _repr_markdown_(self) -> str:
        return self.board.to_markdown()


def report(
    folder: str | Path,
    *,
    reporters: Choice | Sequence[Choice] | None = None,
    plugins: Door | Sequence[Door] = (),
    reporter: str | None = None,
) -> Run:
    """Write the reports of a results folder again from its records.

    Args:
        folder: a results folder that `run` wrote; for reporters that are named also one of which only
            `leaderboard.json` was kept.
        reporters: which reports are written: `"name"`, `"name(key=value)"`, a table with `use`, or a `Ref`, or several
            of them; None for all but those that write only on request.
        plugins: files, modules or objects to use besides what is installed.
        reporter: the former name of `reporters`, for one.

    Raises:
        FinefuseError: if the folder holds no records that can be read, or no such reporter is installed.
    """
    registry = Registry(doors_of(plugins))
    refs = reporters_of(registry, reporter if reporters is None else reporters)
    return results(Path(folder), registry, refs)


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


def site(
    folder: str | Path,
    out: str | Path,
    *,
    reporters: Choice | Sequence[Choice] | None = None,
    plugins: Door | Sequence[Door] = (),
) -> Site:
    """Write the reports of many results folders as one static site with an index.

    Args:
        folder: a folder of results folders; of some only `leaderboard.json` may have been kept.
        out: the folder of the site.
        reporters: as in `report`.
        plugins: as in `report`.

    Raises:
        FinefuseError: if there are no results, one can't be read, or nothing can be written.
    """
    from finefuse.judge.site import make_site

    registry = Registry(doors_of(plugins))
    return make_site(Path(folder), Path(out), registry, reporters_of(registry, reporters))


def pair(folder: str | Path, a: str, b: str) -> Pairing:
    """Compare two lines of a results folder by data set and seed, on the same test examples.

    Args:
        folder: a results folder that `run` wrote.
        a: a strategy as on the board: `full`, `soup of POOL`, `full on BACKBONE`.
        b: another. Where both name a backbone, they are paired by data set only.

    Raises:
        FinefuseError: if the folder can't be read, a name is unknown or means several lines, or the two have no seed
            in common.
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


def doors_of(plugins: Door | Sequence[Door]) -> tuple[Door, ...]:
    """One or several."""
    return tuple(plugins) if isinstance(plugins, (list, tuple)) else (plugins,)


def reporters_of(
    registry: Registry, given: Choice | Sequence[Choice] | None, suite: tuple[Ref, ...] | None = None
) -> tuple[Ref, ...] | None:
    """The chosen reports, None for all; one that can't be made is an error before any compute."""
    refs = suite if given is None else all_chosen("reporter", given)
    for ref in refs or ():
        registry.build("reporter", ref)
    return refs


def results(folder: Path, registry: Registry, refs: tuple[Ref, ...] | None) -> Run:
    """The rows and the board of a folder, and the reports that were written."""
    from finefuse.judge.reports import report_folder

    return Run(folder, *report_folder(folder, registry, refs))
