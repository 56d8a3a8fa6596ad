"""Two results folders, cell by cell: what got worse, what got better, and whether the gate passes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from finefuse.errors import FinefuseError, StoreError
from finefuse.judge.board import present
from finefuse.judge.frame import correctness, number
from finefuse.judge.paired import Paired, paired
from finefuse.judge.statistics import holm
from finefuse.records import read_results
from finefuse.text import plain
from finefuse.types import Cell, Judgement, Record, Verdict

SEVERITY: tuple[Judgement, ...] = (
    "regressed",
    "failed",
    "missing",
    "not-comparable",
    "inconclusive",
    "improved",
    "new",
    "unchanged",
)
"""All judgements, the worst first."""
FATAL = frozenset({"regressed", "failed", "missing"})
COMPARED = frozenset({"regressed", "improved", "unchanged", "inconclusive"})


@dataclass(frozen=True)
class Comparison:
    """One verdict per cell, the worst first; `base` and `new` name the folders."""

    base: str
    new: str
    verdicts: tuple[Verdict, ...]

    @property
    def counts(self) -> dict[Judgement, int]:
        """How many cells got each judgement, those that occur."""
        counts = Counter(verdict.judgement for verdict in self.verdicts)
        return {judgement: counts[judgement] for judgement in SEVERITY if counts[judgement]}

    @property
    def passed(self) -> bool:
        """Whether nothing regressed, failed or is missing, and at least one cell could be compared.

        A single cell that is not comparable doesn't fail the gate: a changed data set or metric changes the question,
        and is listed. If no cell is comparable, nothing was checked, and the gate fails.
        """
        return not FATAL & self.counts.keys() and bool(COMPARED & self.counts.keys())

    def to_markdown(self) -> str:
        """The outcome, the counts, and a table of all cells but the unchanged."""
        counts = ", ".join(f"{n} {judgement}" for judgement, n in self.counts.items()) or "no cells"
        folders = f"{plain(self.new)} against {plain(self.base)}"
        parts = [f"# {'passed' if self.passed else 'FAILED'}: {folders}", f"{counts}."]
        if not COMPARED & self.counts.keys():
            parts.append("No cell could be compared, so nothing was checked.")
        changed = [verdict for verdict in self.verdicts if verdict.judgement != "unchanged"]
        return "\n\n".join([*parts, *([present.draw(_table(changed), "markdown")] if changed else [])])

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


def compare(base: Path, new: Path, *, alpha: float = 0.05, margin: float = 0.01) -> Comparison:
    """Judge every fusion and every scheme's member 0 in `new` against `base`.

    Accuracies on the same test examples are compared by McNemar's exact test, with Holm's correction over all tested
    cells. Cells with the same bits aren't tested and don't count (Tarone 1990, doi 10.2307/2531456: their p-value can't
    be below 1). Where answers are not right or wrong, Student's t test compares the losses.

    - regressed, improved: the difference is significant at `alpha`.
    - unchanged: the same bits, losses or outputs; or not significant, and the 95 % interval of the difference lies
      within +-`margin`, of accuracy or as a share of the base's mean loss.
    - inconclusive: neither.
    - failed: the new row is not ok, or one of its scores is NaN; not where the base was skipped as well.
    - missing: in the base or planned in `new`, and has no row in `new`.
    - new: the base has no score for it.
    - not-comparable: other test examples, another ranking metric, nothing by example; skipped in both, or failed and
      then gone.

    Raises:
        FinefuseError: if `alpha` or `margin` makes no sense.
        StoreError: if a folder can't be read, or the base has no row to compare with.
    """
    if not (0 < alpha < 1 and 0 <= margin < 1):
        raise FinefuseError(f"alpha must lie between 0 and 1 and margin be at least 0, not {alpha:g} and {margin:g}.")
    olds, _ = _read(base)
    if not olds:
        raise StoreError(f"{base}: the baseline has no row of a scheme or fusion to compare with.")
    news, absent = _read(new)
    planned = set(absent)
    verdicts: dict[Cell | str, Verdict] = {}
    differences: dict[Cell | str, Paired] = {}
    for cell in dict.fromkeys([*olds, *news, *absent]):
        old, now = olds.get(cell), news.get(cell)
        judgement, reason = _untested(old, now, planned=cell in planned)
        if judgement is None and old and now:
            if difference := paired(old, now):
                differences[cell] = difference
            else:
                judgement, reason = _unpaired(old, now)
        verdicts[cell] = Verdict(str(cell), judgement or "unchanged", _score(old), _score(now), math.nan, reason)
    settled = _settle(verdicts, differences, alpha, margin)
    return Comparison(str(base), str(new), tuple(sorted(settled, key=lambda v: SEVERITY.index(v.judgement))))


def _read(folder: Path) -> tuple[dict[Cell | str, Record], list[Cell | str]]:
    """The rows that are compared, by cell, and the planned cells without one, including those known by text only."""
    results = read_results(folder)
    rows: dict[Cell | str, Record] = {cell: row for row in results.rows if (cell := Cell.of(row)).has_line}
    return rows, [cell for cell in results.missing if isinstance(cell, str) or cell.has_line]


def _untested(old: Record | None, new: Record | None, *, planned: bool) -> tuple[Judgement | None, str]:
    """The judgement that needs no test, and why; None if both rows are of the same examples."""
    before = "" if old is None else old["status"]
    if new is None:
        if before in ("", "ok") or planned:
            return "missing", "planned, but without a row" if planned else "not in the new results"
        return "not-comparable", f"{before} in the base, not in the new results"
    if new["status"] == before == "skipped":
        return "not-comparable", f"skipped in both: {new.get('reason', '')}"
    if new["status"] != "ok":
        return "failed", f"{new['status']}: {new.get('reason', '')}"
    if wrong := [metric for metric in new["metrics"] if math.isnan(number(new, f"test.{metric}"))]:
        return "failed", f"{', '.join(wrong)} is NaN"
    if old is None or before != "ok":
        return "new", f"{before} in the base" if before else "not in the base"
    return _mismatch(old, new)


def _mismatch(old: Record, new: Record) -> tuple[Judgement | None, str]:
    """The judgement of two good rows that can't be tested."""
    if math.isnan(number(old, f"test.{old['metrics'][0]}")):
        return "new", "NaN in the base"
    if old["metrics"][0] != new["metrics"][0]:
        return "not-comparable", f"ranked by {old['metrics'][0]} in the base, by {new['metrics'][0]} now"
    if any(old.get(field) != new.get(field) or not new.get(field) for field in ("examples", "n_test")):
        return "not-comparable", "other test examples"
    return None, ""


def _unpaired(old: Record, new: Record) -> tuple[Judgement, str]:
    """The judgement of two good rows that don't both say how each example went."""
    if old.get("outputs") and old.get("outputs") == new.get("outputs"):
        return "unchanged", "the same outputs"
    return "not-comparable", "neither answers nor losses per example to test"


def _settle(
    verdicts: Mapping[Cell | str, Verdict], differences: Mapping[Cell | str, Paired], alpha: float, margin: float
) -> list[Verdict]:
    """The verdicts, with the judgement of the tests for every cell that has a difference."""
    ps = {cell: difference.p for cell, difference in differences.items() if difference.p is not None}
    adjusted = dict(zip(ps, holm(list(ps.values())), strict=True))
    settled = []
    for cell, verdict in verdicts.items():
        if difference := differences.get(cell):
            p = adjusted.get(cell, 1.0)
            judgement = _tested(difference, p <= alpha, margin)
            verdict = replace(verdict, judgement=judgement, p=p, reason=difference.reason)
        settled.append(verdict)
    return settled


def _tested(difference: Paired, significant: bool, margin: float) -> Judgement:
    if significant:
        return "improved" if difference.gain > 0 else "regressed"
    return "unchanged" if difference.within(margin) else "inconclusive"


def _score(record: Record | None) -> float:
    """Accuracy on the test set; without bits the ranking metric; NaN if there is no score."""
    if record is None or record["status"] != "ok":
        return math.nan
    return (
        float(correctness(record).mean()) if record.get("correct") else number(record, f"test.{record['metrics'][0]}")
    )


def _table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    def text(value: float, form: str) -> str:
        return "" if math.isnan(value) else format(value, form)

    rows = [
        (v.judgement, v.cell, text(v.base, ".4f"), text(v.new, ".4f"), text(v.new - v.base, "+.4f"), text(v.p, ".2g"))
        for v in verdicts
    ]
    table = pd.DataFrame(rows, columns=["verdict", "cell", "base", "new", "change", "p"])
    return table.assign(reason=[verdict.reason for verdict in verdicts])
