"""How to read the numbers of a board: a sentence for each thing that is on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pandas as pd

from finefuse.types import Record, line_name


def reading_notes(lines: pd.DataFrame, records: Sequence[Record], budgets: pd.DataFrame) -> Iterator[str]:
    """The sentences for scores, then methods, then costs and machines."""
    yield from _scores(lines)
    yield from _methods(lines)
    yield from _costs(lines, budgets)
    yield from _machines(records)


def _scores(lines: pd.DataFrame) -> Iterator[str]:
    seeds = lines["ok"].max() if len(lines) else 0
    if seeds == 1:
        examples = "; ± is of the test examples alone" if lines["interval"].lt(math.inf).any() else ""
        yield f"One seed: nothing can be told apart, so all lines share a rank{examples}."
    elif seeds:
        yield (
            f"Means over up to {seeds} seeds, ± half of a 95 % interval of seeds and test examples together. A rank is "
            "1 plus the number of lines that are better and can be told apart; = marks lines that share one. In "
            "about 5 % of tables of equal lines, or fewer, any are told apart, and in 95 % of tables all true ranks "
            "lie within those under 95 %."
        )
    if any(name.startswith("peek.") for name in map(str, lines)):
        yield (
            "best-val: the checkpoint that is best on val; peek: the one that is best on test, which is unknown in "
            "practice and never ranks."
        )
    if lines["gain"].notna().any():
        yield (
            "gain: by how much a fusion is better than the pool's member that is best on val, in the ranking metric, "
            "as a mean of paired differences. Below: that member (single), the mean member, and an oracle that knows "
            "which member to ask for each example; how often only one of two members is right, Yule's Q and the "
            "correlation of their being right."
        )


def _methods(lines: pd.DataFrame) -> Iterator[str]:
    if any("test inputs" in str(needs) for needs in lines["needs"]):
        yield "Methods that need the test inputs are transductive: they have seen them, without labels."
    if any(name.startswith("peek_at_test.") for name in map(str, lines)):
        yield (
            "default: the settings that a method has by itself; tuned on val: those of its trials that are best on "
            "val, which count; peek at test: those that are best on test, which are unknown in practice and never rank."
        )
    if "followed_by" in lines:
        yield (
            "followed by: stages that changed the fused network, one after the other, and what each saw of the data: "
            "none, inputs without labels, labelled examples, or the test inputs. Their costs are in those of the line."
        )
    searched = lines[lines["edge"] != ""]
    shown = ["strategy", "pool", "backbone", "edge"]
    edges = [
        f"{line_name(strategy, pool, backbone)} ({edge})"
        for strategy, pool, backbone, edge in searched[shown].itertuples(index=False)
    ]
    if edges:
        yield (
            "Searched, and for some seed the best setting is at the edge of its range, so a wider range may be better: "
            f"{'; '.join(edges)}."
        )


def _costs(lines: pd.DataFrame, budgets: pd.DataFrame) -> Iterator[str]:
    if any(lines[name].any() for name in map(str, lines) if name.startswith("front.")):
        yield (
            "front: no line is as good at no higher cost, by the means; T seconds of training and M memory, both "
            "with the members', L latency, F FLOPs, S size. With ? this can't be told. Without, another is surely no "
            "dearer (at every seed, and not beside other work) and told apart as better."
        )
    if len(budgets):
        yield (
            "Budgets are multiples of what the cheapest linear probe costs. Of the lines within one, that with the "
            "best mean on val is shown, and its score on test. * was fitted or chosen on val, which flatters it there."
        )
    yield (
        "Costs: seconds of training or fusing, of processors (cpu s), and by the clock with the members'; memory: by "
        "how much the process grew, or the peak on the GPU, and the most that the method or a member took (+ pool "
        "mem); size: of weights and buffers; latency in ms, p50 and p95 by batch size."
    )
    if lines["contended"].any():
        yield "~ marks seconds taken while other jobs ran on the same machine, or other work, as measured at the time."


def _machines(records: Sequence[Record]) -> Iterator[str]:
    if any(record.get("portable") for record in records):
        yield (
            "Portable: the instruction set was pinned to AVX2, so that x86-64 machines with processors of the same "
            "vendor give the same bits."
        )
    machines = sorted({str(record["machine"]) for record in records if record.get("machine")})
    if machines:
        warning = "; their seconds can't be compared" if len(machines) > 1 else ""
        yield f"Machine{'s' * (len(machines) > 1)}: {', '.join(machines)}{warning}."
