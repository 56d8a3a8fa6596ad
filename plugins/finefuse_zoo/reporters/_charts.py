"""Vega-Lite charts of a leaderboard, by altair: what it costs, critical differences, curves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy.stats import studentized_range

from finefuse.types import line_name

WIDTH, HEIGHT = 560, 340
SHOWN = 40
"""Entrants in a figure of critical differences, the best of them."""
Chart = alt.LayerChart | alt.FacetChart
ENTRANT = ["strategy", "pool", "backbone"]


def ranked(lines: pd.DataFrame, better: Mapping[str, str]) -> pd.DataFrame:
    """The lines that have a finite score, with its `metric`, `score` and `half`, and what they are called."""
    metrics = [next(iter(metrics), "") for metrics in lines["metrics"]]
    scores = [line.get(f"test.{m}.mean", math.nan) for m, line in zip(metrics, lines.to_dict("records"), strict=True)]
    lines = lines.assign(
        metric=metrics,
        score=np.array(scores, float),
        half=lines["interval"].where(np.isfinite(lines["interval"].astype(float)), 0.0).fillna(0.0).astype(float),
        lower=[better.get(metric) == "lower" for metric in metrics],
        kind=lines["pool"].map(lambda pool: "fusion" if pool else "scheme"),
        name=list(map(line_name, lines["strategy"], lines["pool"])),
    )
    scored: pd.DataFrame = lines[np.isfinite(lines["score"])]
    return scored


def of_several(lines: pd.DataFrame) -> pd.Series[bool]:
    """Which lines are of a pool across data sets."""
    if "tasks" not in lines:
        return pd.Series(False, index=lines.index)
    return lines["tasks"].map(lambda names: isinstance(names, tuple) and len(names) > 1)


def front(lines: pd.DataFrame, cost: str, *, lower: bool) -> pd.Series[bool]:
    """Which lines no other one beats in both cost and score; of equal ones all."""
    ordered = lines.sort_values([cost, "score"], ascending=[True, lower], kind="stable")
    score = ordered["score"] if lower else -ordered["score"]
    before = score.groupby(ordered[cost]).min().cummin().shift(fill_value=math.inf)
    best = score.groupby(ordered[cost]).transform("min")
    inside = (score == best) & (score < ordered[cost].map(before))
    return inside.reindex(lines.index)


def pareto(lines: pd.DataFrame, cost: str, title: str, axis: str) -> Chart:
    """Score against cost, each with its interval, and the front of those that nothing beats in both."""
    metric, lower = str(lines["metric"].iloc[0]), bool(lines["lower"].iloc[0])
    points = lines.assign(low=lines["score"] - lines["half"], high=lines["score"] + lines["half"], cost=lines[cost])
    points["front"] = front(points, "cost", lower=lower)
    base = alt.Chart(points[["name", "kind", "backbone", "score", "low", "high", "cost", "front"]])
    x = alt.X("cost:Q", title=axis, scale=_scale(points["cost"]), axis=alt.Axis(tickCount=6, gridOpacity=0.4))
    y = alt.Y("score:Q", title=metric, scale=alt.Scale(zero=False), axis=alt.Axis(gridOpacity=0.4))
    color = alt.Color("backbone:N", title="backbone")
    bars = base.mark_rule(opacity=0.35).encode(x=x, y=alt.Y("low:Q", title=metric), y2="high:Q", color=color)
    dots = base.mark_point(filled=True, size=55).encode(x=x, y=y, color=color, shape=alt.Shape("kind:N", title=""))
    best = base.transform_filter("datum.front")
    line = best.mark_line(interpolate="step-after", color="gray", strokeWidth=1.2).encode(x=x, y=y)
    text = best.mark_text(align="left", dx=7, dy=-7, fontSize=10, limit=200).encode(x=x, y=y, text="name:N")
    return alt.layer(line, bars, dots, text).properties(width=WIDTH, height=HEIGHT, title=title)


def _scale(costs: pd.Series[float]) -> alt.Scale:
    """Logarithmic, with room for names at the right; linear where a cost is 0."""
    if not (costs > 0).all():
        return alt.Scale()
    room = (costs.max() / costs.min()) ** 0.12 + 0.2
    return alt.Scale(type="log", domain=[costs.min() / room, costs.max() * room**2], nice=False)


def average_ranks(lines: pd.DataFrame) -> tuple[pd.Series, int]:
    """The average rank over data sets of what has a score on all of them, and how many data sets there are."""
    lines = lines[~of_several(lines)]
    signed = lines["score"].where(lines["lower"], -lines["score"])
    step = signed.abs().groupby(lines["dataset"]).transform("max") * 1e-9
    even = (signed / step.where(step > 0, 1.0)).round()
    table = lines.assign(even=even).pivot_table(index="dataset", columns=ENTRANT, values="even", dropna=False)
    table = table.dropna(axis=1)
    return table.rank(axis=1).mean().sort_values(kind="stable"), len(table)


def critical(entrants: int, data_sets: int) -> float:
    """By how much two average ranks must differ: Nemenyi's test at 5 % (Demsar 2006)."""
    q = float(studentized_range.ppf(0.95, entrants, math.inf)) / math.sqrt(2)
    return q * math.sqrt(entrants * (entrants + 1) / (6 * data_sets))


def critical_differences(lines: pd.DataFrame) -> Chart | None:
    """Average ranks over data sets, each with a bar as long as what two must differ by; None for one data set."""
    ranks, data_sets = average_ranks(lines)
    if data_sets < 2 or len(ranks) < 2:
        return None
    least = critical(len(ranks), data_sets)
    names = [" ".join(filter(None, map(str, entrant))) for entrant in ranks.index]
    shown = pd.DataFrame({"entrant": names, "rank": ranks.to_numpy(), "until": ranks.to_numpy() + least}).head(SHOWN)
    more = f"; the best {SHOWN} of them" if len(ranks) > SHOWN else ""
    title = alt.Title(
        f"Average ranks of {len(ranks)} over {data_sets} data sets{more}",
        subtitle=f"They differ if a bar doesn't reach the other's dot: {least:.2f} (Nemenyi, 5 %)",
    )
    base = alt.Chart(shown).encode(y=alt.Y("entrant:N", sort=list(shown["entrant"]), title=None, axis=LIMITED))
    bars = base.mark_rule(strokeWidth=3, opacity=0.4).encode(x=alt.X("rank:Q", title="average rank"), x2="until:Q")
    dots = base.mark_point(filled=True, size=50, color="black").encode(x=alt.X("rank:Q", scale=alt.Scale(zero=False)))
    return alt.layer(bars, dots).properties(width=WIDTH, title=title)


LIMITED = alt.Axis(labelLimit=320)


def by_round(lines: pd.DataFrame) -> Iterator[tuple[str, Chart]]:
    """The score by round, for each table with fusions in several."""
    rounds = lines[lines["rounds"] > 1]
    for (dataset, backbone), group in rounds.groupby(["dataset", "backbone"], sort=False):
        group = group.assign(at=group["round"] + 1, line=group["label"] + " of " + group["pool"])
        yield f"rounds {dataset!s} {backbone!s}", _curve(group, "round", f"{dataset!s} · {backbone!s}")


def by_size(curves: pd.DataFrame) -> Iterator[tuple[str, Chart]]:
    """The score by how many tasks or members are fused, for each pool of which parts are fused too."""
    for (dataset, backbone, pool), group in curves.groupby(["dataset", "backbone", "pool"], sort=False):
        half = group["half"].where(np.isfinite(group["half"].astype(float)), 0.0).fillna(0.0)
        points = group.assign(at=group["size"], line=group["strategy"], score=group["mean"], half=half)
        name = f"sizes {dataset!s} {backbone!s} {pool!s}"
        yield name, _curve(points[points["score"].notna()], "tasks or members fused", f"{pool!s} · {backbone!s}")


def _curve(points: pd.DataFrame, axis: str, title: str) -> Chart:
    points = points.assign(low=points["score"] - points["half"], high=points["score"] + points["half"])
    base = alt.Chart(points[["at", "line", "score", "low", "high"]])
    x = alt.X("at:O", title=axis, axis=alt.Axis(labelAngle=0))
    color = alt.Color("line:N", title=None, legend=alt.Legend(labelLimit=260))
    y = alt.Y("score:Q", title=str(points["metric"].iloc[0]), scale=alt.Scale(zero=False))
    drawn = base.mark_line(point=True).encode(x=x, y=y, color=color)
    bars = base.mark_rule(opacity=0.35).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=color)
    return alt.layer(bars, drawn).properties(width=WIDTH, height=HEIGHT, title=title)


def printable(value: Any) -> Any:
    """A specification in whose texts nothing is a control: a drawing with one is no XML, and would end the process."""
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else "?" for letter in value)
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


def images(chart: Any) -> tuple[str, bytes]:
    """The chart as SVG and as PNG, drawn without a browser."""
    import vl_convert

    spec = printable(chart.to_dict())
    return str(vl_convert.vegalite_to_svg(spec)), bytes(vl_convert.vegalite_to_png(spec, scale=2))
