"""Lines as people read them: short tables of text, in Markdown or HTML."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import product
from typing import Literal

import pandas as pd

from finefuse.judge.names import Names
from finefuse.judge.resolution import Resolution
from finefuse.text import plain
from finefuse.types import TEXT_COLUMNS, Bullets, Heading, line_name

Markup = Literal["markdown", "html"]


Block = Heading | Bullets | pd.DataFrame
"""A part of a board: tables hold text as people read it."""
FRONTS = {"front.training": "T", "front.latency": "L", "front.flops": "F", "front.memory": "M", "front.bytes": "S"}
"""How tables write whose front a line is on."""
ARROWS = {"higher": "↑", "lower": "↓"}
LEAST_PADDING = 2
"""Blanks beside a heading that is longer than all cells below it."""
Columns = dict[str, list[str]]
"""A table as people read it, while it is made."""


def score_table(lines: pd.DataFrame, better: Mapping[str, str]) -> pd.DataFrame:
    """The scores of one data set and backbone: the ranking metric with its interval, the others' means."""
    metrics = max(lines["metrics"], key=len)
    table = _names(lines)
    kept = {*table}
    table |= {"level": list(lines["level"]), "needs": list(lines["needs"])}
    if "followed_by" in lines:
        table["followed by"] = list(lines["followed_by"])
    if "statistics" in lines:
        table["BatchNorm"] = list(lines["statistics"].fillna(""))
    for metric in metrics:
        halves = lines["interval"] if metric == metrics[0] else [math.inf] * len(lines)
        pairs = zip(lines[f"test.{metric}.mean"], halves, lines["ok"], strict=True)
        table[f"{metric} {ARROWS[better[metric]]}"] = [score(mean, half) if ok else "" for mean, half, ok in pairs]
        if metric == metrics[0]:
            table |= _elsewhere(lines, metric) | _source(lines, better)
            gains = zip(lines["gain"], lines["gain.half"], strict=True)
            table["gain"] = ["" if math.isnan(mean) else signed(mean, half) for mean, half in gains]
    table["front"] = _front(lines)
    for moment, name in {"last": "last", "best": "best-val", "peek": "peek"}.items():
        if metrics and (column := f"{moment}.{metrics[0]}.mean") in lines:
            table[name] = _means(lines[column])
    table |= _three(lines, metrics[0]) if metrics else {}
    if (lines["trials"] > 0).any():
        table["trials"] = ["" if not count else str(count) for count in lines["trials"]]
    if "chosen" in lines:
        told = zip(lines["chosen"], lines["edge"], strict=True)
        table["chosen on val"] = [f"{chosen}{' (at the edge)' * bool(chosen and edge)}" for chosen, edge in told]
    return _table(_filled(table, kept) | {"runs": list(lines["status"])})


def _three(lines: pd.DataFrame, metric: str) -> dict[str, list[str]]:
    """Side by side what a search gives: the default settings, those best on val, and, as a peek, those best on test.

    Rows of a former version have the default alone.
    """
    default, peek = (lines.get(f"{name}.{metric}.mean") for name in ("default", "peek_at_test"))
    tuned = None if peek is None else lines[f"test.{metric}.mean"].where(peek.notna())
    columns = {"default": default, "tuned on val": tuned, "peek at test": peek}
    return {name: _means(column) for name, column in columns.items() if column is not None}


def _means(column: pd.Series) -> list[str]:
    return ["" if math.isnan(mean) else score(mean, math.inf) for mean in column]


def across(lines: pd.DataFrame) -> pd.DataFrame:
    """The scores of one data set over all backbones."""
    table: Columns = {}
    for name, column in _names(lines).items():
        if name == "strategy":
            table["backbone"] = list(lines["backbone"])
        table[name] = column
    metric, lower = lines[["metric", "lower"]].iloc[0]
    figures = zip(lines["mean"], lines["interval"], strict=True)
    table[f"{metric} {ARROWS['lower' if lower else 'higher']}"] = [score(mean, half) for mean, half in figures]
    return _table(table | {"seeds": list(map(str, lines["ok"]))})


def resolved(found: Resolution) -> str:
    """What a table can tell apart, and what would settle its first place, in one sentence or two."""
    if math.isnan(found.needed):
        return "Nothing can be told apart: no two lines have two seeds in common."
    text = (
        f"{found.apart} of {found.neighbours} neighbours can be told apart; two lines must differ by "
        f"{score(found.needed, math.inf)} (the median of all pairs)."
    )
    if not found.seeds:
        return f"{text} First place is settled."
    gap = f"the first two stay {score(found.gap, math.inf)} apart"
    if math.isinf(found.seeds):
        return f"{text} More seeds would not settle first place if {gap}."
    return f"{text} About {found.seeds:.0f} seeds in all would settle first place if {gap}."


def _elsewhere(lines: pd.DataFrame, metric: str) -> dict[str, list[str]]:
    """Columns of scores on further test sets."""
    columns: dict[str, list[str]] = {}
    for name in map(str, lines):
        if found := re.fullmatch(rf"also\.(.*)\.{re.escape(metric)}\.mean", name):
            pairs = zip(lines[name], lines[name.removesuffix("mean") + "half"], strict=True)
            columns[f"on {found[1]}"] = ["" if math.isnan(mean) else score(mean, half) for mean, half in pairs]
    return columns


def _source(lines: pd.DataFrame, better: Mapping[str, str]) -> dict[str, list[str]]:
    """The column of the source task: the score of each body with the pretrained head."""
    for metric in better:
        if (column := f"source.{metric}.mean") in lines and lines[column].notna().any():
            pairs = zip(lines[column], lines[f"source.{metric}.half"], strict=True)
            shown = ["" if math.isnan(mean) else score(mean, half) for mean, half in pairs]
            return {f"source {ARROWS[better[metric]]}": shown}
    return {}


def forgotten(lines: pd.DataFrame, better: Mapping[str, str]) -> list[str]:
    """What the column of the source task is to be held against, in one sentence."""
    for metric in better:
        if (column := f"source.before.{metric}.mean") in lines and lines[column].notna().any():
            before = score(float(lines[column].mean()), math.inf)
            told = f"source: {metric} on what the backbone was pretrained for, with the head of that time"
            return [f"{told}; before tuning {before}"]
    return []


def pool_table(pools: pd.DataFrame) -> pd.DataFrame:
    """Bounds of the fusions of each pool, in the ranking metric, and how much its members differ."""
    whole = pools["reason"].eq("").all()
    pools = pools[pools["ok"] > 0]
    table: Columns = {"pool": list(pools["pool"]), "members": list(map(str, pools["members"]))}
    across_data = pools["tasks"].iloc[0] if "tasks" in pools else None
    crossing = isinstance(across_data, tuple)
    single = "own models" if crossing else "best single on val"
    named = {"single": single, "mean": "mean member", "oracle": "oracle", "untouched": "untouched body, tuned heads"}
    for metric, (bound, name) in product(pools["metrics"].iloc[0][: 1 + crossing], named.items()):
        if f"{bound}.{metric}.mean" not in pools or pools[f"{bound}.{metric}.mean"].isna().all():
            continue
        figures = zip(pools[f"{bound}.{metric}.mean"], pools[f"{bound}.{metric}.half"], strict=True)
        table[f"{name}, {metric}"] = [score(mean, half) for mean, half in figures]
    for name in ("disagreement", "q", "correlation"):
        table[name] = ["" if math.isnan(value) else f"{value:.3f}" for value in pools[name]]
    return _table(_filled(table) | ({} if whole else {"runs": list(pools["status"])}))


def by_round(lines: pd.DataFrame) -> list[str]:
    """One sentence for each fusion with several rounds, with the scores of all rounds."""
    metric = max(lines["metrics"], key=len, default=())[:1]
    rounds = lines[lines["rounds"] > 1]
    if rounds.empty or not metric:
        return []
    curves = rounds.sort_values("round").groupby(["label", "pool"], sort=False)[f"test.{metric[0]}.mean"]
    told = [(line_name(*map(str, line)), ", ".join(score(mean, math.inf) for mean in means)) for line, means in curves]
    return [f"{name}, {metric[0]} by round: {means}" for name, means in told]


def cost_table(lines: pd.DataFrame) -> pd.DataFrame:
    """What the scored lines of one data set and backbone cost: seconds, sizes, FLOPs, latency in milliseconds."""
    lines = lines[lines["ok"] > 0]
    marks = ["~" * bool(contended) for contended in lines["contended"]]
    table = {name: column for name, column in _names(lines).items() if name not in ("rank", "95 %")}
    table["train s"] = _marked(marks, lines["seconds"])
    table["cpu s"] = list(map(_digits, lines["cpu_seconds"]))
    table["+ pool s"] = _marked(marks, lines["seconds_with_members"])
    if "origin" in lines:
        origins = list(lines["origin"])
        for name in ("train s", "cpu s", "+ pool s"):
            table[name] = ["given" if of == "given" else text for of, text in zip(origins, table[name], strict=True)]
        pairs = zip(origins, table["+ pool s"], strict=True)
        table["+ pool s"] = [f"{text}{' + given' * (of == 'made of given')}" for of, text in pairs]
    for name, column in {"memory": "memory", "+ pool mem": "memory_with_members"}.items():
        table[name] = _sizes(lines[column])
    if table["+ pool mem"] == table["memory"]:
        del table["+ pool mem"]
    for name, column in {"cpu J": "energy.processors", "GPU J": "energy.gpu"}.items():
        table[name] = list(map(_digits, lines[column]))
    table["size"] = _sizes(lines["bytes"])
    for name, column in {"trainable": "trainable", "params": "parameters", "FLOPs": "flops"}.items():
        table[name] = list(map(_count, lines[column]))
    for column in [name for name in map(str, lines) if re.fullmatch(r"latency\..*\.p\d+", name)]:
        _, batch, percentile = column.split(".")
        table[f"{percentile} b{batch}"] = [_digits(seconds * 1000) for seconds in lines[column]]
    return _table(_filled(table))


def _marked(marks: list[str], seconds: pd.Series) -> list[str]:
    return [f"{mark}{_digits(value)}" for mark, value in zip(marks, seconds, strict=True)]


def _sizes(column: pd.Series) -> list[str]:
    return [f"{_count(value)}B" if value >= 1000 else "" for value in column]


def budget_table(budgets: pd.DataFrame, better: Mapping[str, str]) -> pd.DataFrame:
    """What each budget buys on one data set and backbone."""
    metric = budgets["metric"].iloc[0]
    table: Columns = {"budget": [f"{factor}x" for factor in budgets["budget"]]}
    table["up to s"] = list(map(_digits, budgets["budget"] * budgets["unit"]))
    chosen = zip(budgets["strategy"], budgets["val_used"], strict=True)
    table["best on val"] = [f"{strategy}{' *' * bool(used)}" for strategy, used in chosen]
    table["pool"] = list(budgets["pool"])
    figures = zip(budgets["mean"], budgets["interval"], strict=True)
    table[f"{metric} {ARROWS[better[metric]]}"] = [score(mean, half) for mean, half in figures]
    costs = zip(budgets["contended"], budgets["cost"], strict=True)
    table["costs"] = [f"{'~' * bool(contended)}{cost:.3g}x" for contended, cost in costs]
    return _table(_filled(table))


def _front(lines: pd.DataFrame) -> list[str]:
    """Of each line the costs by whose front it is, as letters; with a question mark where that can't be told."""
    marks = {"front": "", "maybe": "?"}
    letters = {letter: list(lines[name]) for name, letter in FRONTS.items() if name in lines}
    return [
        " ".join(f"{letter}{marks[on[at]]}" for letter, on in letters.items() if on[at] in marks)
        for at in range(len(lines))
    ]


def efforts(lines: pd.DataFrame) -> list[str]:
    """How many optimizer steps each line took, and how many gradients where these are not as many: `sam 224 (448)`."""
    told = []
    for strategy, pool, steps, gradients in lines[["strategy", "pool", "steps", "gradients"]].itertuples(index=False):
        if steps > 0 or gradients > 0:
            both = (
                _count(steps)
                if steps == gradients or math.isnan(gradients)
                else f"{_count(steps)} ({_count(gradients)})"
            )
            told.append(f"{line_name(strategy, pool)} {both}")
    return told


def figures(lines: pd.DataFrame) -> list[str]:
    """Figures that strategies reported: `logme 0.2345`, with the strategy if it has another name."""
    reported = []
    for column in [name for name in map(str, lines) if name.startswith("figure.")]:
        name = column.removeprefix("figure.")
        for strategy, value in lines.loc[lines[column].notna(), ["strategy", column]].itertuples(index=False):
            by = "" if strategy == name else f" ({strategy})"
            reported.append(f"{name} {score(value, math.inf)}{by}")
    return reported


def reasons(lines: pd.DataFrame, pools: pd.DataFrame) -> list[str]:
    """Why some runs of these lines, or of the bounds of these pools, have no score.

    A reason shared by a whole pool, such as a member that failed, is given once, and so are reasons without a pool.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for strategy, pool, reason in lines[["strategy", "pool", "reason"]].itertuples(index=False):
        found.setdefault((pool, reason), []).append(strategy)
    for pool, reason in pools[["pool", "reason"]].itertuples(index=False) if len(pools) else ():
        found.setdefault((pool, reason), []).append("the bounds")
    return [f"{line_name(_and(names), pool)}: {reason}" for (pool, reason), names in found.items() if reason]


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def renamed(lines: pd.DataFrame, names: Names) -> pd.DataFrame:
    """Lines whose strategies have their short names."""
    pairs = zip(lines["strategy"], lines["label"], strict=True)
    short = [f"{names.strategy(label)}{strategy.removeprefix(label)}" for strategy, label in pairs]
    return lines.assign(strategy=short, label=lines["label"].map(names.strategy))


def render(blocks: Iterable[Block], markup: Markup) -> str:
    """All blocks, one after the other."""
    return ("\n\n" if markup == "markdown" else "\n").join(_rendered(block, markup) for block in blocks)


def _rendered(block: Block, markup: Markup) -> str:
    if isinstance(block, Heading):
        return title(block.text, block.level, markup)
    return bullets(block.items, markup) if isinstance(block, Bullets) else draw(block, markup)


def draw(table: pd.DataFrame, markup: Markup) -> str:
    """A pipe table that reads well as printed, or an HTML table."""
    if markup == "html":
        return table.map(plain).rename(columns=plain).to_html(index=False, border=0)
    return "\n".join(f"|{'|'.join(cells)}|" for cells in zip(*_padded(table), strict=True))


def _padded(table: pd.DataFrame) -> Iterator[list[str]]:
    """The columns of a pipe table: heading, rule and cells, all of one width."""
    for name, column in table.items():
        heading, cells = escaped_cell(name), list(map(escaped_cell, column))
        width = max(len(heading) + LEAST_PADDING, *map(len, cells), 0)
        if name in TEXT_COLUMNS:
            yield [f" {heading:<{width}} ", f":{'-' * (width + 1)}", *(f" {cell:<{width}} " for cell in cells)]
        else:
            yield [f" {heading:>{width}} ", f"{'-' * (width + 1)}:", *(f" {cell:>{width}} " for cell in cells)]


def title(text: str, level: int, markup: Markup) -> str:
    """A heading."""
    text = plain(text)
    return f"<h{level}>{html.escape(text)}</h{level}>" if markup == "html" else f"{'#' * level} {_without_tags(text)}"


def bullets(items: Iterable[str], markup: Markup) -> str:
    """A list."""
    items = map(plain, items)
    if markup == "html":
        return f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in items)}</ul>"
    return "\n".join(f"- {_without_tags(item)}" for item in items)


def escaped_cell(value: object) -> str:
    """What a cell of a pipe table holds."""
    return _without_tags(plain(value).replace("|", "\\|"))


def _without_tags(text: str) -> str:
    """What Markdown would take for a tag of HTML stays text."""
    return re.sub("<(?=[A-Za-z/!?])", r"\\<", text)


def _names(lines: pd.DataFrame) -> Columns:
    ranks = list(lines["rank"])
    tied = zip(ranks, lines["tied"], strict=True)
    table: Columns = {"rank": ["" if pd.isna(rank) else f"{rank}{'=' * tie}" for rank, tie in tied]}
    if (lines["rank"] < lines["rank.lowest"]).any():
        ends = zip(ranks, lines["rank.lowest"], strict=True)
        table["95 %"] = ["" if pd.isna(rank) else f"{rank}-{lowest}" for rank, lowest in ends]
    table["strategy"] = list(lines["strategy"])
    return table | {"pool": pools} if any(pools := list(lines["pool"])) else table


def _filled(table: Columns, kept: Container[str] = ()) -> Columns:
    """The columns with a text in at least one row, and those that stay anyway."""
    return {name: column for name, column in table.items() if name in kept or any(text != "" for text in column)}


def _table(columns: Columns) -> pd.DataFrame:
    return pd.DataFrame(columns, dtype=object)


def score(mean: float, half: float) -> str:
    """A score, and half of its interval if that is known."""
    if math.isnan(mean):
        return "nan"
    text = f"{mean:.4f}" if abs(mean) < 1000 else f"{mean:.5g}"
    return f"{text}{_half(half)}"


def signed(mean: float, half: float = math.inf) -> str:
    """A difference with its sign, and half of its interval."""
    return f"{mean:+.4f}{_half(half)}"


def _half(half: float) -> str:
    """Nothing for 0: values that happen to be equal don't say how they vary."""
    return f" ± {half:.4f}" if math.isfinite(half) and half > 0 else ""


def _digits(value: float) -> str:
    """Three digits: 0.0123, 1.23, 12.3, 1230."""
    if not math.isfinite(value) or value == 0:
        return "" if math.isnan(value) else f"{value:g}"
    value = float(f"{value:.3g}")
    return f"{value:.{min(max(2 - math.floor(math.log10(abs(value))), 0), 6)}f}"


def _count(value: float) -> str:
    """Three digits and a letter for thousands, millions and so on: 77.1k."""
    if not math.isfinite(value):
        return ""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{_digits(value / size)}{letter}"
    return f"{value:.0f}"
