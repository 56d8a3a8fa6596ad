"""One answer over all backbones: a table per data set, and average ranks over data sets."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.judge.aggregate import without_mixed
from finefuse.judge.board import present
from finefuse.judge.board.lines import Place
from finefuse.judge.board.ranking import Line, ranked, score_table
from finefuse.judge.board.terminal import Readable
from finefuse.judge.frame import numbers
from finefuse.judge.names import Names
from finefuse.judge.outcomes import table_noise
from finefuse.judge.ranks import ROUNDING
from finefuse.judge.resolution import Resolution
from finefuse.judge.statistics import mean_interval
from finefuse.judge.studentised import range_quantile
from finefuse.judge.threads import one_thread
from finefuse.types import Bullets, Cell, Heading, Record, line_name

Floats = NDArray[np.float64]
IMPUTATIONS = ("worst",)
"""Ways to stand in for a score that is not there: the worst score of the data set."""
DRAWS = 400
"""Of the bootstrap."""
SHOWN = 12
"""Entrants in the matrix of win rates."""


class Entrant(NamedTuple):
    """What could be chosen: a strategy on a backbone, of a pool if it is a fusion."""

    backbone: str
    strategy: str
    pool: str


@dataclass(frozen=True)
class Overall(Readable):
    """`tables` has the ranked lines of all backbones by data set, `resolutions` what each can tell apart.

    `ranks` has one row per entrant, by average rank over data sets: `rank` with its interval, `wins` against all
    others, `score` (1 at the best entrant of a data set, 0 at the median one or below, on average), and `imputed`, how
    many of its scores are stand-ins. `wins` is the matrix. Average ranks differ if they are `critical` apart. All these
    are empty for one data set, or where `refused` says why. `stand_ins` has by data set the score that stands in, and
    for which entrants.
    """

    tables: Mapping[str, pd.DataFrame]
    resolutions: Mapping[str, Resolution]
    ranks: pd.DataFrame
    wins: pd.DataFrame
    critical: float
    refused: str
    names: Names = field(default_factory=Names)
    stand_ins: Mapping[str, tuple[float, Sequence[Entrant]]] = field(default_factory=dict)

    def blocks(self) -> Iterator[present.Block]:
        """Headings, tables and lists, in order, for whoever draws them."""
        for dataset, table in self.tables.items():
            yield Heading(self.names.thing(dataset), 2)
            yield present.across(self._renamed(table))
            if found := self.resolutions.get(dataset):
                yield Bullets((present.resolved(found),))
            if stands_in := self.stand_ins.get(dataset):
                yield Bullets((self._standing_in(*stands_in),))
        if self.refused:
            yield Bullets((f"No ranks over data sets: {self.refused}",))
        if len(self.ranks):
            yield Heading("Over data sets", 2)
            yield _shown(self._renamed(self.ranks))
            renamed = self._renamed(self.ranks)[list(Entrant._fields)]
            short = [_entrant_name(entrant) for entrant in renamed.itertuples(index=False)]
            wins = self.wins.set_axis(short).set_axis(short, axis=1).iloc[:SHOWN, :SHOWN]
            wins = wins.map(lambda share: "" if math.isnan(share) else f"{share:.2f}")
            yield wins.reset_index(names="wins against")
            yield Bullets(tuple(self._said()))

    def _renamed(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with short names."""
        return table.assign(
            backbone=table["backbone"].map(self.names.thing), strategy=table["strategy"].map(self.names.strategy)
        )

    def _standing_in(self, score: float, entrants: Sequence[Entrant]) -> str:
        """Which scores of one data set are stand-ins."""
        told = (line_name(self.names.strategy(e.strategy), e.pool, self.names.thing(e.backbone)) for e in entrants)
        return f"Not there, and imputed over data sets: {score:.4f} *, the worst score here, for {', '.join(told)}."

    def _said(self) -> list[str]:
        said = [
            f"Average ranks over {len(self.tables)} data sets differ if they are {self.critical:.2f} apart (Nemenyi, "
            "at 5 %); 95 %: of a bootstrap of data sets, of seeds in them, and of the test examples of these. wins: "
            "share of data sets in which an entrant is better. score: 1 at the best entrant of a data set, 0 at the "
            "median."
        ]
        starred = "* marks entrants for some of whose scores the worst of the data set stands in."
        return [*said, starred] if self.ranks["imputed"].any() else said


def _shown(ranks: pd.DataFrame) -> pd.DataFrame:
    ends = zip(ranks["low"], ranks["high"], strict=True)
    table = pd.DataFrame({"rank": ranks["rank"].map("{:.2f}".format), "95 %": [f"{a:.1f}-{b:.1f}" for a, b in ends]})
    stars = ranks["imputed"].map(lambda count: " *" if count else "")
    table = table.assign(backbone=ranks["backbone"], strategy=ranks["strategy"] + stars, pool=ranks["pool"])
    table["wins"], table["score"] = ranks["wins"].map("{:.2f}".format), ranks["score"].map("{:.3f}".format)
    return table


@one_thread()
def overall(rows: Sequence[Record], impute: str | None = None) -> Overall:
    """Rank all backbones, schemes and fusions together, by data set and over data sets.

    Raises:
        FinefuseError: if there is no such imputation.
    """
    if impute is not None and impute not in IMPUTATIONS:
        near = did_you_mean(impute, IMPUTATIONS)
        raise FinefuseError(f"no imputation is called {impute!r}{near or '; there is: ' + ', '.join(IMPUTATIONS)}")
    lines: dict[str, dict[Entrant, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for row in without_mixed(rows):
        if row["status"] == "ok" and Cell.of(row).has_line:
            place = Place.of(row)
            lines[place.dataset][Entrant(place.backbone, place.strategy, place.pool)].append(row)
    tables: dict[str, pd.DataFrame] = {}
    resolutions: dict[str, Resolution] = {}
    scores: dict[str, tuple[dict[Entrant, int], Floats]] = {}
    for dataset, entrants in sorted(lines.items()):
        found, resolution, lower = _table(entrants)
        tables[dataset] = pd.DataFrame(found)
        if resolution:
            resolutions[dataset] = resolution
        drawn = _scores(entrants, found[0]["metric"], lower=lower)
        scores[dataset] = {entrant: at for at, entrant in enumerate(entrants)}, drawn
    ranks, wins, critical, refused = _over(scores, impute)
    stand_ins = _stand_ins(scores, tables) if len(ranks) else {}
    return Overall(tables, resolutions, ranks, wins, critical, refused, _names(lines), stand_ins)


def _stand_ins(
    scores: Mapping[str, tuple[dict[Entrant, int], Floats]], tables: Mapping[str, pd.DataFrame]
) -> dict[str, tuple[float, Sequence[Entrant]]]:
    """By data set the worst score, and the entrants without one of their own for which it stands in."""
    entrants = sorted({entrant for at, _ in scores.values() for entrant in at})
    found: dict[str, tuple[float, Sequence[Entrant]]] = {}
    for dataset, (at, drawn) in scores.items():
        absent = [one for one in entrants if one not in at or math.isnan(drawn[0, at[one]])]
        if absent:
            worst = float(np.nanmin(drawn[0]))
            found[dataset] = (-worst if tables[dataset]["lower"].iloc[0] else worst, absent)
    return found


def _names(lines: Mapping[str, Mapping[Entrant, list[Record]]]) -> Names:
    """What data sets, backbones and strategies, with their rounds, are called."""
    entrants = [entrant for found in lines.values() for entrant in found]
    return Names.of([*lines, *(entrant.backbone for entrant in entrants)], (entrant.strategy for entrant in entrants))


def _table(entrants: Mapping[Entrant, list[Record]]) -> tuple[list[Line], Resolution | None, bool]:
    """The lines of one data set, ranked over all backbones."""
    first = next(iter(entrants.values()))[0]
    metric = first["metrics"][0]
    lower = first[f"better.{metric}"] == "lower"
    drafts = []
    for entrant, rows in entrants.items():
        rows.sort(key=lambda row: int(row["seed"]))
        if (other := rows[0]["metrics"][0]) != metric:
            raise FinefuseError(f"{first['dataset']}: ranked by {metric} on {first['backbone']}, by {other} elsewhere.")
        mean, _ = mean_interval(numbers(rows, f"test.{metric}"))
        drafts.append(({**entrant._asdict(), "metric": metric, "lower": lower, "mean": mean, "ok": len(rows)}, rows))
    in_order = ranked(drafts, metric, lower=lower)
    lines, found = in_order.lines, in_order.resolution
    return lines, found, lower


def _scores(entrants: Mapping[Entrant, list[Record]], metric: str, *, lower: bool) -> Floats:
    """Scores of which higher is better, (1 + draws, entrants): the means, and those of a bootstrap.

    Seeds are drawn again, the same for all entrants. Test examples that all seeds share are drawn as normal
    deviations with their covariance; others are drawn with their seeds. A line without finite scores has NaN.
    """
    rows = list(entrants.values())
    scores, _ = score_table(rows, metric, lower=lower)
    scores = -scores if lower else scores
    digest = hashlib.blake2b(np.ascontiguousarray(scores).tobytes(), digest_size=8).digest()
    generator = np.random.default_rng(int.from_bytes(digest, "big"))
    seeds = scores.shape[1]
    counts = np.vstack([np.ones(seeds), generator.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS)])
    there = np.isfinite(scores)
    weights = counts @ there.T.astype(float)
    sums = counts @ np.where(there, scores, 0.0).T
    means = np.divide(sums, weights, out=np.full_like(sums, np.nan), where=weights > 0)
    means = np.where(np.isnan(means), means[0], means)
    noise = table_noise(rows, metric)
    covariance = (noise.own_shared + noise.own_shared[:, None] - noise.shared) / 2
    values, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    drawn: Floats = np.vstack([means[:1], means[1:] + generator.standard_normal((DRAWS, len(rows))) @ root])
    return drawn


def _over(
    scores: Mapping[str, tuple[dict[Entrant, int], Floats]], impute: str | None
) -> tuple[pd.DataFrame, pd.DataFrame, float, str]:
    """Average ranks, matrix of win rates and critical difference over data sets, or why there are none."""
    entrants = sorted({entrant for at, _ in scores.values() for entrant in at})
    nothing = pd.DataFrame(), pd.DataFrame(), math.nan
    k, n = len(entrants), len(scores)
    if n < 2 or k < 2:
        return *nothing, ""
    means, ranks, absent = np.empty((n, k)), np.empty((n, 1 + DRAWS, k)), np.zeros((n, k), bool)
    for d, (at, drawn) in enumerate(scores.values()):
        whole = np.full((1 + DRAWS, k), np.nan)
        there = [e for e, entrant in enumerate(entrants) if entrant in at]
        whole[:, there] = drawn[:, [at[entrants[e]] for e in there]]
        absent[d] = np.isnan(whole[0])
        filled = np.where(np.isnan(whole), np.fmin.reduce(whole, axis=1, keepdims=True), whole)
        filled = _evened(filled)
        means[d], ranks[d] = filled[0], _ranks(filled)
    if absent.any() and (impute is None or absent.all(1).any()):
        return *nothing, _unequal(absent, entrants, list(scores))
    wins = _wins(means)
    frame = pd.DataFrame(entrants).assign(imputed=absent.sum(0), **_summary(means, ranks, wins))
    order = frame.sort_values(["rank", "backbone", "strategy", "pool"], kind="stable").index
    names = [_entrant_name(entrant) for entrant in entrants]
    matrix = pd.DataFrame(wins, names, names).iloc[order, order]
    critical = range_quantile(k, math.inf) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n))
    return frame.loc[order].reset_index(drop=True), matrix, critical, ""


def _entrant_name(entrant: Sequence[str]) -> str:
    backbone, strategy, pool = entrant
    return " ".join(filter(None, [strategy, pool, backbone]))


def _unequal(absent: NDArray[np.bool_], entrants: Sequence[Entrant], data_sets: Sequence[str]) -> str:
    """Why there are no ranks over data sets."""
    if absent.all(1).any():
        return f"nothing has a score on {data_sets[int(absent.all(1).argmax())]}."
    d, e = np.argwhere(absent)[0]
    backbone, strategy, pool = entrants[e]
    return (
        f"{int(absent.sum())} of {absent.size} scores are not there, such as that of "
        f"{line_name(strategy, pool, backbone)} for {data_sets[d]}. "
        "`--impute worst` lets the worst score of the data set stand in."
    )


def _summary(means: Floats, ranks: Floats, wins: Floats) -> dict[str, Floats]:
    """Average ranks with their intervals, mean win rates and normalised scores of entrants."""
    data_sets, draws, _ = ranks.shape
    generator = np.random.default_rng([data_sets, draws])
    chosen = generator.integers(data_sets, size=(draws - 1, data_sets))
    drawn = ranks[chosen, np.arange(1, draws)[:, None]].mean(1)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    best, median = means.max(1, keepdims=True), np.median(means, axis=1, keepdims=True)
    span = best - median
    score = np.where(span > 0, np.maximum((means - median) / np.where(span > 0, span, 1), 0), means == best).mean(0)
    return {"rank": ranks[:, 0].mean(0), "low": low, "high": high, "wins": np.nanmean(wins, axis=1), "score": score}


def _evened(scores: Floats) -> Floats:
    """Scores to as many digits as are more than rounding, so that what is equal but for that is equal."""
    step = ROUNDING * (float(np.abs(scores).max()) or 1.0)
    evened: Floats = np.round(scores / step) * step
    return evened


def _ranks(scores: Floats) -> Floats:
    """Ranks in each row, 1 for the highest; those that are equal share the mean of theirs."""
    ranks: Floats = pd.DataFrame(scores).rank(axis=1, ascending=False).to_numpy()
    return ranks


def _wins(means: Floats) -> Floats:
    """The share of data sets (data sets, entrants) in which one entrant is better than another; a tie is half."""
    over = means[:, :, None] - means[:, None, :]
    wins: Floats = ((over > 0) + 0.5 * (over == 0)).mean(0)
    np.fill_diagonal(wins, np.nan)
    return wins
