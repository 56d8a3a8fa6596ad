"""Whether a row that was run again is the same: by its bits, or on another kind of machine within a tolerance."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from finefuse.declare.keys import explain
from finefuse.judge.board.fairness import TIMED
from finefuse.judge.certificates import Found
from finefuse.judge.frame import correctness, losses
from finefuse.judge.gate.surroundings import is_code
from finefuse.judge.merging import CIRCUMSTANCES
from finefuse.records import why
from finefuse.rows import told
from finefuse.types import Record

ERRORS = 3.0
"""Standard errors of its test examples by which a score may differ on another kind of machine."""
SHARE = 0.2
"""The same as a share of the value, added for scores that are not known by example."""
LEAST_ALIKE = 0.4
"""How much the results per example must correlate, unless hardly any differ."""
FEW = 3
"""Examples that may differ without more ado."""
TOLERANCE = (
    f"as many test examples, the same sizes and FLOPs; the score within {ERRORS:g} standard errors of its test "
    f"examples; results per example that correlate by {LEAST_ALIKE:g} or more, unless no more than {FEW} differ; other "
    f"scores within {100 * SHARE:g} % and {ERRORS / 2:g}/√n for n test examples."
)
SIZES = ("parameters", "trainable", "bytes", "flops")
EXACT = ("use", "params", "level", "needs", "members", "followed_by", "saw", "metrics", "n_test", "examples", *SIZES)
"""Fields that no machine changes."""
PACKED = ("correct", "losses", "outputs", "predicted")
EVIDENCE = ("correct", "losses", "outputs", "metrics", "n_test", "examples", "parameters", "trainable", "flops")
"""Fields that a row may not lack if it has them when it is run again; others are new since some version."""
SCORES = re.compile(r"(test|val|also|last|best|single|mean|oracle|untouched|task|source|default)\.")
_ABOVE = re.compile(r"pretrained backbone|start|(own )?members|timed model|(trial|choice) \d+")
"""Parts of a key that are the address of what a job needs, which has a row of its own."""
ADDRESSES = ("key", "artifact", "parts", "fused")
"""Fields that follow from what a row was made with."""
FORGED = "its key is not that of what it was made with"
LISTED = 3


def alike(old: Record, new: Record, examples: int = 0) -> tuple[Found, str]:
    """What a row comes to that was run again, and why in a few words.

    `examples` is how many test examples there are where the row doesn't say it, as those of bounds don't.
    """
    other_key = old["key"] != new["key"]
    another = _another(old.get("parts") or {}, new.get("parts") or {}) if other_key else ""
    if another == FORGED:
        return "different", another
    if old["status"] != new["status"]:
        return "different", f"was {_status(old)} and is {_status(new)}"
    if new["status"] != "ok":
        return "same", f"{new['status']} both times"
    differing = [name for name in _differing(old, new) if not (other_key and name in ADDRESSES)]
    if not differing:
        return "same", f"though {another}" if another else ""
    if another or not other_key:
        return "different", "; ".join(filter(None, [another, _changes(old, new, differing)]))
    wrong = [*_inexact(old, new), *_apart(old, new, new.get("n_test") or examples)]
    return ("different", "; ".join(wrong[:LISTED])) if wrong else ("close", _closeness(old, new))


def _another(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """What else than the machine or a version differs where the keys do; "" if nothing."""
    if not old:
        return "its row doesn't say what it was made with"
    differing = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    own = {name for name in differing if not _ABOVE.fullmatch(name)}
    if code := sorted(name for name in own if is_code(name)):
        kept = [{name: parts[name] for name in code if name in parts} for parts in (old, new)]
        return explain(*kept)
    if own:
        return ""
    return "what it is made of changed" if differing else FORGED


def _status(row: Record) -> str:
    return " ".join(filter(None, [row["status"], f"({said})" if (said := why(row)) else ""]))


def _differing(old: Record, new: Record) -> Iterator[str]:
    """Fields of results that differ; one that only one of the two has counts if it is evidence or a score."""
    for name in {**new, **old}:
        if name in CIRCUMSTANCES or name.startswith(TIMED):
            continue
        if name in old and name in new:
            if json.dumps(old[name]) != json.dumps(new[name]):
                yield name
        elif name in EVIDENCE or SCORES.match(name):
            yield name


def _changes(old: Record, new: Record, differing: list[str]) -> str:
    """The fields that differ, those that people read first."""
    first = sorted(differing, key=lambda name: (not name.startswith("test."), name in PACKED))
    shown = [_change(name, old, new) for name in first[:LISTED]]
    more = len(first) - LISTED
    return "; ".join([*shown, *([f"and {more} more fields"] if more > 0 else [])])


def _change(name: str, old: Record, new: Record) -> str:
    """What a field was and is; of what can't be read only that it differs."""
    if name in PACKED and name in old and name in new:
        return f"{name} differ"
    return f"{name} was {_value(old, name)} and is {_value(new, name)}"


def _value(row: Record, name: str) -> str:
    return told(row[name]) if name in row else "not there"


def _inexact(old: Record, new: Record) -> Iterator[str]:
    """What differs though no machine changes it, or is lacking."""
    by_example = any(old.get(name) and new.get(name) for name in ("correct", "losses"))
    for name in EXACT:
        if name == "examples" and by_example:  # drawn examples differ in their last digits; results tell which they are
            continue
        known = name in EVIDENCE or (name in old and name in new)
        if known and json.dumps(old.get(name)) != json.dumps(new.get(name)):
            yield _change(name, old, new)
    for name in ("correct", "losses"):
        if bool(old.get(name)) != bool(new.get(name)):
            yield f"only one of the two has {name}"


def _apart(old: Record, new: Record, examples: int) -> Iterator[str]:
    """What differs by more than the tolerance."""
    if old.get("n_test") == new.get("n_test"):
        for name, read in (("correct", correctness), ("losses", losses)):
            if old.get(name) and new.get(name):
                yield from _by_example(name, read(old).astype(float), read(new).astype(float))
    for name in new:
        if SCORES.match(name) and (said := _score_apart(name, old, new, examples)):
            yield said
    for name in old:
        if SCORES.match(name) and name not in new:
            yield _change(name, old, new)


def _by_example(name: str, old: NDArray[np.float64], new: NDArray[np.float64]) -> Iterator[str]:
    """Whether means and results per example are as alike as they should be."""
    if not (np.isfinite(old).all() and np.isfinite(new).all()):
        if np.isfinite(old).all() != np.isfinite(new).all():
            yield f"only one of the two has finite {name}"
        return
    n, changed = len(old), int((old != new).sum())
    step = 1 / n if name == "correct" else 0.0
    allowed = ERRORS * float(new.std()) / math.sqrt(n) + step
    if abs(old.mean() - new.mean()) > allowed:
        yield f"the mean of {name} was {old.mean():.4g} and is {new.mean():.4g}, and may differ by {allowed:.2g}"
    if changed > FEW and (found := _correlation(old, new)) < LEAST_ALIKE:
        yield f"{name} correlate by {found:.2f} over examples, of which {changed} of {n} differ"


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's; 0 where one of the two has no spread."""
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else 0.0


def _score_apart(name: str, old: Record, new: Record, examples: int) -> str:
    if name not in old:
        return _change(name, old, new)
    one, two = old[name], new[name]
    numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in (one, two))
    if not numbers:
        return "" if json.dumps(one) == json.dumps(two) else _change(name, old, new)
    allowed = SHARE * max(abs(one), abs(two)) + (ERRORS * 0.5 / math.sqrt(examples) if examples else 0.0)
    return (
        "" if abs(one - two) <= allowed else f"{name} was {one:.4g} and is {two:.4g}, and may differ by {allowed:.2g}"
    )


def _closeness(old: Record, new: Record) -> str:
    """How far a row that is close lies from the other."""
    first = next((f"test.{metric}" for metric in new.get("metrics") or () if f"test.{metric}" in old), "")
    others = ["test examples with other digits"] if old.get("examples") != new.get("examples") else []
    said = [f"measured on {old.get('machine') or 'an unknown machine'}"]
    if first:
        said.append(f"{first.removeprefix('test.')} was {_value(old, first)} and is {_value(new, first)}")
    if old.get("correct") and new.get("correct"):
        changed = int((correctness(old) != correctness(new)).sum())
        said.append(f"{changed} of {new['n_test']} answers differ")
    return "; ".join([*said, *others])
