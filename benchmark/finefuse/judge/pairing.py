"""Two lines of a board against each other, by data set and seed, on the same test examples."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.judge.aggregate import without_mixed
from finefuse.judge.board import present
from finefuse.judge.board.lines import Place
from finefuse.judge.board.terminal import Readable
from finefuse.judge.frame import number, numbers
from finefuse.judge.intervals import score_half
from finefuse.judge.names import Names
from finefuse.judge.outcomes import table_noise
from finefuse.judge.paired import paired
from finefuse.judge.statistics import mean_interval
from finefuse.judge.threads import one_thread
from finefuse.types import Bullets, Cell, Heading, Record, line_name

Runs = dict[int, Record]
"""Ok rows by seed."""


@dataclass(frozen=True)
class Pairing(Readable):
    """How `a` and `b` differ: `tables` has one row per data set and backbone, `seeds` one per seed of these.

    `difference` is a minus b in the ranking metric, and `half` half of its 95 % interval, of seeds and test examples
    together. `overall` takes each data set as one observation; its mean is NaN where metrics differ.
    """

    a: str
    b: str
    tables: pd.DataFrame
    seeds: pd.DataFrame
    overall: tuple[float, float]

    def blocks(self) -> Iterator[present.Block]:
        """A heading, the tables and a list, in order, for whoever draws them."""
        names = Names.of([*self.tables["dataset"], *self.tables["backbone"]], ())
        tables = self.tables.drop(columns=["difference", "half", "lower"])
        pairs = zip(self.tables["difference"], self.tables["half"], strict=True)
        tables.insert(6, "a - b", [present.signed(mean, half) for mean, half in pairs])
        seeds = self.seeds.assign(p=["" if math.isnan(p) else f"{p:.2g}" for p in self.seeds["p"]])
        seeds["a - b"] = [present.signed(value) for value in seeds.pop("difference")]
        yield Heading(f"a: {self.a}, b: {self.b}", 1)
        yield from (_texts(table, names) for table in (tables, seeds))
        yield Bullets(tuple(self._said()))

    def _said(self) -> Iterator[str]:
        wins = self.tables["verdict"].value_counts()
        yield (
            f"a is better in {wins.get('a is better', 0)}, b in {wins.get('b is better', 0)} of {len(self.tables)} "
            "tables of one data set and backbone, each by its own 95 % interval."
        )
        mean, half = self.overall
        if math.isfinite(mean) and math.isfinite(half):
            count = self.tables["dataset"].nunique()
            yield f"Over {count} data sets, each as one observation: a - b {present.signed(mean, half)} (Student's t)."
        yield "p: of the test examples of one seed, McNemar's exact test, or Student's t of the losses."


def _texts(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    short = table.assign(dataset=table["dataset"].map(names.thing), backbone=table["backbone"].map(names.thing))
    return short.map(lambda value: f"{value:.4f}" if isinstance(value, float) else str(value))


@one_thread()
def pair(rows: Sequence[Record], a: str, b: str) -> Pairing:
    """Compare two lines, each a strategy as on the board: `soup`, `soup of POOL`, `soup of POOL on BACKBONE`.

    Where both are on a named backbone they are paired by data set, else by data set and backbone.

    Raises:
        FinefuseError: if a name is unknown or means several lines, both mean the same one, or the two have no seed in
            common.
    """
    lines: dict[Place, Runs] = defaultdict(dict)
    for row in without_mixed(rows):
        if row["status"] == "ok" and Cell.of(row).has_line:
            lines[Place.of(row)][row["seed"]] = row
    names = _names(lines)
    chosen_a, chosen_b = (_chosen(name, names) for name in (a, b))
    if both := set(chosen_a).intersection(chosen_b):
        place = min(both)
        raise FinefuseError(f"{a!r} and {b!r} are the same line on {place.dataset} and {place.backbone}.")
    across = all(len({place.backbone for place in chosen}) == 1 for chosen in (chosen_a, chosen_b))
    tables: list[dict[str, object]] = []
    seeds: list[dict[str, object]] = []
    for one in chosen_a:
        for two in chosen_b:
            if one.dataset == two.dataset and (across or one.backbone == two.backbone):
                table, by_seed = _compared(lines[one], lines[two])
                where = {"dataset": one.dataset, "backbone": " / ".join(dict.fromkeys([one.backbone, two.backbone]))}
                tables += [where | table] if by_seed else []
                seeds += [where | seed for seed in by_seed]
    if not tables:
        raise FinefuseError(f"{a!r} and {b!r} have no scored seed of a data set in common.")
    frame = pd.DataFrame(tables)
    return Pairing(a, b, frame, pd.DataFrame(seeds), _overall(frame))


def _names(lines: Mapping[Place, Runs]) -> dict[str, list[Place]]:
    """The lines that each way to write a name stands for: in full, and short as on the board."""
    names: dict[str, list[Place]] = defaultdict(list)
    short = Names.of((name for place in lines for name in place[:2]), (place.label for place in lines))
    for place in sorted(lines):
        strategies = place.strategy, place._replace(label=short.strategy(place.label)).strategy
        backbones = "", place.backbone, short.thing(place.backbone)
        for name in dict.fromkeys(line_name(*way) for way in product(strategies, ("", place.pool), backbones)):
            names[name].append(place)
    return names


def _chosen(name: str, names: Mapping[str, list[Place]]) -> list[Place]:
    """The lines of one name, one per data set and backbone: a scheme's where one has the name."""
    if name not in names:
        raise FinefuseError(f"no line with a score is called {name!r}{did_you_mean(name, names) or '.'}")
    places = names[name]
    schemes = [place for place in places if not place.pool]
    places = schemes or places
    pools = sorted({place.pool for place in places})
    if len(pools) > 1:
        ways = " or ".join(repr(line_name(name, pool)) for pool in pools)
        raise FinefuseError(f"{name!r} means several lines: say {ways}.")
    return places


def _compared(a: Runs, b: Runs) -> tuple[dict[str, object], list[dict[str, object]]]:
    """The row of one data set and backbone, and those of its common seeds."""
    common = sorted(a.keys() & b.keys())
    if not common or (metric := a[common[0]]["metrics"][0]) != b[common[0]]["metrics"][0]:
        return {}, []
    ours, theirs = [a[seed] for seed in common], [b[seed] for seed in common]
    scores = np.array([numbers(rows, f"test.{metric}") for rows in (ours, theirs)])
    lower = ours[0][f"better.{metric}"] == "lower"
    noise = table_noise([ours, theirs], metric)
    parts = (float(part[0, 1]) for part in (noise.shared, noise.least, noise.single))
    difference, half = float((scores[0] - scores[1]).mean()), score_half(scores[0] - scores[1], *parts)
    means = {"a": float(scores[0].mean()), "b": float(scores[1].mean())}
    verdict = {
        "difference": difference,
        "half": half,
        "lower": lower,
        "verdict": _verdict(difference, half, lower=lower),
    }
    by_seed = [_by_seed(seed, one, two, metric) for seed, one, two in zip(common, ours, theirs, strict=True)]
    return {"metric": metric, "seeds": len(common), **means, **verdict}, by_seed


def _by_seed(seed: int, a: Record, b: Record, metric: str) -> dict[str, object]:
    values = {"a": number(a, f"test.{metric}"), "b": number(b, f"test.{metric}")}
    same = a.get("examples") == b.get("examples") is not None and a.get("n_test") == b.get("n_test")
    found = paired(b, a) if same else None
    p = math.nan if found is None or found.p is None else found.p
    reason = found.reason if found else "nothing by example" if same else "other test examples"
    return {"seed": seed, **values, "difference": values["a"] - values["b"], "p": p, "from b to a": reason}


def _verdict(difference: float, half: float, *, lower: bool) -> str:
    if not abs(difference) > half:
        return "can't tell"
    return "a is better" if (difference < 0) == lower else "b is better"


def _overall(tables: pd.DataFrame) -> tuple[float, float]:
    """The mean difference over data sets, and half of Student's interval."""
    if tables["metric"].nunique() > 1:
        return math.nan, math.nan
    return mean_interval(tables.groupby("dataset", sort=False)["difference"].mean().tolist())
