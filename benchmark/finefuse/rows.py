"""What a row may hold: every row that is read is checked once, whoever wrote it. `docs/records.md` lists the fields."""

from __future__ import annotations

import math
import re
from array import array
from binascii import Error, a2b_base64
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, get_args

from finefuse.types import JobKind, Record, Status
from finefuse.types.aggregate import Aggregate, By, Zero

SCHEMA = 1
"""The version of a row's fields; a row of another is refused."""
COSTS = 2
"""The version of the protocol of costs: raised by hand where seconds, memory or energy come to mean something else.

In the first, memory counted pages of files too.
"""
LATENCY = 2
"""The same for latency, in rows of `time` jobs: those before the second were timed for a fixed time."""
NARROW = 0.02
"""A latency is known if the 95 % interval of its median is no wider than this to each side, as a share of it."""
LARGEST = 1e100
"""No number may be farther from 0, unless it is infinite: squares and sums of all rows must still be numbers."""
CLOSE = 1e-6
"""How far a score may lie from the share of right examples: metrics may compute in float32."""
FEWEST = 3
"""Rows of a former version that must agree before others are held to what they have in common."""
MANY = 1000
"""Kinds of rows, by the names and types of their fields, that are remembered."""
KINDS, STATUSES = get_args(JobKind), get_args(Status)
NEEDED = ("cell", "key", "kind", "dataset", "backbone", "label", "pool", "seed", "member", "status")
SCORED = ("tune", "fuse", "pool")
"""Kinds of job whose rows say how good something is, if they are ok."""


def wrong_with(row: object) -> str:
    """What is wrong with a row, as the end of a sentence about it; "" if nothing is.

    Unknown fields are accepted, and so are rows of former versions, which lack some fields.
    """
    if isinstance(row, dict):
        return "" if _shape_of(row).is_sound(row) else _told(row)
    return "is not a JSON object"


def _told(row: Record) -> str:
    """The same of an object, field by field."""
    if lacking := [name for name in NEEDED if name not in row]:
        return f"is not a row of finefuse: it has no {' and no '.join(lacking)}"
    for name, value in row.items():
        types, check, expected = _RULES[name]
        if type(value) not in types or (check and not check(value)):
            return f"has {told(value)} as `{name}`, where {expected} was expected"
    if row["status"] == "ok":
        return _wrong_scores(row) or _wrong_pairs(row) or _wrong_share(row) or _wrong_losses(row) or _wrong_figure(row)
    return ""


def _wrong_scores(row: Record) -> str:
    """Whether a row that is ok has the scores it should have."""
    if row["kind"] not in SCORED:
        return ""
    if not row.get("metrics"):
        return "is ok and has no `metrics`"
    first = "single.test" if row["kind"] == "pool" else "test"
    lacking = [n for metric in row["metrics"] for n in (f"{first}.{metric}", f"better.{metric}") if n not in row]
    return f"is ok and has no `{lacking[0]}`" if lacking else ""


def _wrong_pairs(row: Record) -> str:
    """Whether two lists that go together have as many entries."""
    if row["kind"] not in SCORED:
        return ""
    for one, other in (("followed_by", "saw"), ("tasks", "ranked_by")):
        counts = len(row.get(one) or ()), len(row.get(other) or ())
        if counts[0] != counts[1]:
            return f"has {counts[0]} entries in `{one}` and {counts[1]} in `{other}`"
    return ""


def _wrong_share(row: Record) -> str:
    """Whether the bits of `correct` contradict the scores that are the share of them."""
    if row.get("correct") is None:
        return ""
    n = row.get("n_test")
    if not n:
        return "has bits in `correct` and no `n_test`"
    packed = _unpacked(row["correct"])
    if packed is None:
        return "has a `correct` that is not base64"
    bits = int.from_bytes(packed, "big")
    if len(packed) != -(-n // 8) or bits & ((1 << -n % 8) - 1):
        return f"has {len(packed)} bytes in `correct`, which are not the bits of {n} examples"
    share = bits.bit_count() / n
    for metric in row.get("shares") or ():
        score = row.get(f"test.{metric}")
        if score is None or not abs(score - share) <= CLOSE:
            return _contradiction(metric, score, share)
    return ""


def _wrong_figure(row: Record) -> str:
    """Whether the figure of several tasks contradicts the scores that the row has of each."""
    if not row.get("aggregate") or row["kind"] != "fuse":
        return ""
    ranked = list(zip(row.get("tasks") or (), row.get("ranked_by") or (), strict=False))
    scores: list[Any] = [row.get(f"task.{task}.test.{metric}") for task, metric in ranked]
    own: list[Any] = [row.get(f"task.{task}.own.{metric}") for task, metric in ranked]
    better: list[Any] = [row.get(f"better.{metric}") for _, metric in ranked]
    if None in [*scores, *own, *better]:
        return "lacks scores of its `tasks`"
    told = Aggregate.of(row).figure(scores, own, better)
    figure = row.get("test.normalised", math.nan)
    same = figure == told or abs(figure - told) <= CLOSE * abs(told) or (math.isnan(figure) and math.isnan(told))
    return "" if same else f"has {figure} as `test.normalised`, and its own scores of tasks say {told:.6g}"


class Former:
    """Holds rows of a former version, which don't say in `shares` what their bits are to be held to, to these.

    That is told from all of them together: a score that is the share of the bits in most rows of a data set, and in
    three at least that are neither all right nor all wrong, is held to the bits of the others.
    """

    def __init__(self) -> None:
        self._named: dict[tuple[str, str], None] = {}
        self._held: dict[tuple[str, str], _Held] = defaultdict(_Held)

    def add(self, number: int, row: Record) -> None:
        """Look at a sound row."""
        if row["status"] != "ok" or row.get("correct") is None or "shares" in row:
            return
        share, dataset = _share(row), row["dataset"]
        self._named.update(dict.fromkeys((dataset, metric) for metric in row.get("metrics") or ()))
        for name, score in row.items():
            if name.startswith("test.") and score is not None:
                held = self._held[dataset, name.removeprefix("test.")]
                close = abs(score - share) <= CLOSE
                held.telling += 0 < share < 1
                held.agreeing += close and 0 < share < 1
                if not close:
                    held.others.append(number)

    def wrong(self) -> dict[int, str]:
        """The numbers of rows that contradict their bits, each with the metric."""
        found: dict[int, str] = {}
        for dataset, metric in self._named:
            held = self._held[dataset, metric]
            if held.agreeing >= FEWEST and 2 * held.agreeing > held.telling:
                found |= dict.fromkeys(held.others, metric)
        return found


@dataclass
class _Held:
    """A score in the rows of a data set: how many could tell, how many of these agree, and those that don't agree."""

    telling: int = 0
    agreeing: int = 0
    others: array[int] = field(default_factory=lambda: array("q"))


def contradiction(row: Record, metric: str) -> str:
    """What is wrong with a row whose score contradicts its bits."""
    return _contradiction(metric, row[f"test.{metric}"], _share(row))


def _share(row: Record) -> float:
    """The share of right examples in a row whose bits are sound."""
    return int.from_bytes(_unpacked(row["correct"]) or b"", "big").bit_count() / int(row["n_test"])


def _contradiction(metric: str, score: float | None, share: float) -> str:
    return f"has {score} as `test.{metric}`, and its own bits say {share:.6g}"


def _wrong_losses(row: Record) -> str:
    """Whether `losses` are a number for each example."""
    if row.get("losses") is None:
        return ""
    packed, n = _unpacked(row["losses"]), row.get("n_test")
    if packed is None or not n or len(packed) != 4 * n:
        return f"has `losses` that are not the base64 of {n} numbers"
    return ""


def _unpacked(text: str) -> bytes | None:
    try:
        return a2b_base64(text, strict_mode=True)
    except (Error, ValueError):
        return None


class Rule(NamedTuple):
    """What a field may hold: values of these types, and of these those that pass the check, if there is one."""

    types: frozenset[type]
    check: Callable[[Any], bool] | None
    expected: str


def _from_zero(value: float | None) -> bool:
    return value is None or 0 <= value <= LARGEST


def _whole(value: int) -> bool:
    return abs(value) <= LARGEST


def _score(value: float | None) -> bool:
    """NaN and infinity are allowed: a network that diverged may have such scores."""
    return value is None or not LARGEST < abs(value) < math.inf


def _texts(value: list[object] | None) -> bool:
    return not value or {str}.issuperset(map(type, value))


def _parts(value: dict[str, object]) -> bool:
    return {str}.issuperset(map(type, value.values()))


def _objects(value: dict[str, object] | None) -> bool:
    return not value or {dict}.issuperset(map(type, value.values()))


def _way(value: list[object] | None) -> bool:
    return value is None or (len(value) == 2 and value[0] in get_args(By) and value[1] in get_args(Zero))


NONE = type(None)
TEXT = Rule(frozenset({str}), None, "a text")
TEXT_OR_NULL = Rule(frozenset({str, NONE}), None, "a text or null")
COUNT = Rule(frozenset({int}), _from_zero, "a whole number from 0")
COUNT_OR_NULL = Rule(frozenset({int, NONE}), _from_zero, "a whole number from 0, or null")
AMOUNT = Rule(frozenset({int, float, NONE}), _from_zero, "a number from 0, or null")
SCORE = Rule(frozenset({int, float, NONE}), _score, "a number or null")
FLAG = Rule(frozenset({bool, NONE}), None, "true, false or null")
LIST = Rule(frozenset({list}), _texts, "a list of texts")
TEXTS = Rule(frozenset({list, NONE}), _texts, "a list of texts")
OBJECT = Rule(frozenset({dict, NONE}), None, "an object or null")
MISNAMED = Rule(frozenset(), None, "a name such as latency.64.p50")
ANYTHING = Rule(frozenset({str, int, float, bool, list, dict, NONE}), None, "")

_NAMED: dict[str, Rule] = {
    "kind": Rule(frozenset({str}), KINDS.__contains__, f"one of {', '.join(KINDS)}"),
    "status": Rule(frozenset({str}), STATUSES.__contains__, f"one of {', '.join(STATUSES)}"),
    "costs": Rule(frozenset({int, NONE}), _from_zero, "a whole number from 0, or null"),
    "schema": Rule(frozenset({int}), (SCHEMA).__eq__, f"schema {SCHEMA}"),
    "seed": Rule(frozenset({int}), _whole, "a whole number"),
    **dict.fromkeys(("parts", "fused"), Rule(frozenset({dict}), _parts, "an object of texts")),
    **dict.fromkeys(("cell", "key", "dataset", "backbone", "label", "pool", "dataset_use", "backbone_use"), TEXT),
    **dict.fromkeys(("suite", "artifact", "use", "level", "reason"), TEXT),
    **dict.fromkeys(("error", "traceback", "machine", "device", "precision", "compile", "finished"), TEXT_OR_NULL),
    **dict.fromkeys(("not_replayed",), TEXT_OR_NULL),
    **dict.fromkeys(
        ("correct", "losses", "examples", "outputs", "predicted", "statistics", "structure", "no_energy"), TEXT_OR_NULL
    ),
    **dict.fromkeys(("needs", "at_edge", "latency_of"), LIST),
    **dict.fromkeys(("metrics", "shares", "remarks", "tasks", "ranked_by", "subset"), TEXTS),
    **dict.fromkeys(("followed_by", "saw"), TEXTS),
    "aggregate": Rule(frozenset({list, NONE}), _way, "how scores of tasks become one figure"),
    "source_data": TEXT_OR_NULL,
    **dict.fromkeys(("member", "round", "trial", "members", "repeated", "size", "draw"), COUNT),
    **dict.fromkeys(("n_test", "steps", "pieces", "trainable", "parameters", "trials", "best"), COUNT_OR_NULL),
    **dict.fromkeys(("threads", "peak_memory", "gradients", "skipped_steps", "steps_replayed", "bytes"), COUNT_OR_NULL),
    **dict.fromkeys(("seconds", "cpu_seconds", "seconds_members", "seconds_before", "flops", "rate"), AMOUNT),
    **dict.fromkeys(("job_seconds", "seconds_compiling", "seconds_shared"), AMOUNT),
    **dict.fromkeys(("quality", "disagreement", "q", "correlation"), SCORE),
    **dict.fromkeys(("contended", "channels_last", "tf32", "portable"), FLAG),
    **dict.fromkeys(("params", "tried", "chosen", "prepared_by", "examples_of"), OBJECT),
    "given": Rule(frozenset({dict, NONE}), _objects, "an object of objects, or null"),
}
_STARTING: dict[str, Rule] = {
    "better": Rule(frozenset({str}), ("higher", "lower").__contains__, "higher or lower"),
    **dict.fromkeys(("latency", "energy"), AMOUNT),
    **dict.fromkeys(("test", "val", "also", "last", "best", "peek", "peek_at_test", "default"), SCORE),
    **dict.fromkeys(("single", "mean", "oracle", "untouched", "figure", "task", "source"), SCORE),
}


class _Rules(dict[str, Rule]):
    """The rule for every name of a field, worked out once."""

    def __missing__(self, name: str) -> Rule:
        prefix, dot, _ = name.partition(".")
        known = prefix != "latency" or re.fullmatch(r"latency\.\d{1,9}\.(p\d\d|within)", name, re.ASCII)
        self[name] = (_STARTING if dot else _NAMED).get(prefix, ANYTHING) if known else MISNAMED
        return self[name]


_RULES = _Rules()


class _Shape:
    """What rows with the same fields, with values of the same types, have in common.

    Most rows are sound, and this sees it at once; whatever it doesn't accept, `_told` decides.
    """

    def __init__(self, names: tuple[str, ...], types: tuple[type, ...]) -> None:
        rules = {name: _RULES[name] for name in names}
        self.names = frozenset(names)
        self.typed = self.names.issuperset(NEEDED) and all(
            one in rule.types for one, rule in zip(types, rules.values(), strict=True)
        )
        there = {name: rule.check for (name, rule), one in zip(rules.items(), types, strict=True) if one is not NONE}
        self.amounts = _getter([name for name, check in there.items() if check is _from_zero])
        self.scores = _getter([name for name, check in there.items() if check is _score])
        self.lists = _getter([name for name, check in there.items() if check is _texts])
        several = (_from_zero, _score, _texts, None)
        self.others = [(name, check) for name, check in there.items() if check not in several]
        self.rare = not self.names.isdisjoint(("losses", "aggregate", "followed_by", "saw", "tasks", "ranked_by"))
        self.scored: set[tuple[str, ...]] = set()

    def is_sound(self, row: Record) -> bool:
        """Whether nothing is wrong with a row; False where that is not certain."""
        if not self.typed or not _within(self.amounts(row), 0) or not _within(self.scores(row), -LARGEST):
            return False
        if not {str}.issuperset(map(type, chain.from_iterable(self.lists(row)))):
            return False
        if not all(check(row[name]) for name, check in self.others):
            return False
        return row["status"] != "ok" or self._agrees(row)

    def _agrees(self, row: Record) -> bool:
        """Whether the fields of a row that is ok agree with each other."""
        known = row["kind"], *(row.get("metrics") or ())
        if known not in self.scored:
            if _wrong_scores(row):
                return False
            self.scored.add(known)
        if self.rare and (_wrong_pairs(row) or _wrong_losses(row) or _wrong_figure(row)):
            return False
        return not _wrong_share(row)


def _getter(names: Sequence[str]) -> Callable[[Record], tuple[Any, ...]]:
    """What takes the values of these fields from a row."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple(row[name] for name in names)


def _within(values: tuple[Any, ...], least: float) -> bool:
    """Whether all are numbers from `least` to the largest that may be; no NaN is."""
    return not values or (least <= min(values) and max(values) <= LARGEST and (total := sum(values)) == total)


class _Shapes(dict[tuple[tuple[str, ...], tuple[type, ...]], _Shape]):
    """The shapes of rows that were seen; few, or else they are not kept."""

    def __missing__(self, key: tuple[tuple[str, ...], tuple[type, ...]]) -> _Shape:
        if len(self) >= MANY:
            self.clear()
        self[key] = _Shape(*key)
        return self[key]


_SHAPES = _Shapes()


def _shape_of(row: Record) -> _Shape:
    return _SHAPES[tuple(row), tuple(map(type, row.values()))]


def is_given(row: Record) -> bool:
    """Whether a row's network was tuned elsewhere, and not only something that it is made of."""
    return bool(row.get("given")) and row["kind"] == "tune" and "seconds_before" not in row


def given_as(label: str, row: Record) -> Record:
    """Where a row's network is from, under another label; nothing for one that was tuned here."""
    return {"given": {label: next(iter(row["given"].values()))}} if is_given(row) else {}


def origin(name: str, given: Mapping[str, str]) -> str:
    """Where a network is from that was tuned elsewhere, as a sentence without its full stop."""
    known = "; ".join(f"{what.replace('_', ' ')} {text}" for what, text in given.items())
    seen = given.get("trained_on", "unknown") == "unknown"
    return f"{name} was given: {known}{'; its training data may hold test examples' if seen else ''}"


def told(value: object, most: int = 40) -> str:
    """A value, short enough for a sentence."""
    text = ascii(value)
    return text if len(text) <= most else f"{text[:most]}..."
