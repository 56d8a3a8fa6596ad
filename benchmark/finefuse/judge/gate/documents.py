"""A comparison as one JSON document, and the JSON Schema of it."""

from __future__ import annotations

import json
import math
from typing import Any, get_args

from finefuse.judge.gate.outcome import SCOPES, Outcome, counted
from finefuse.judge.gate.policy import Limit
from finefuse.judge.gate.schemas import COUNT, NUMBER, TEXT, document_of, object_of
from finefuse.types import Judgement, Scope, Verdict

VERSION = 1
"""The version of the document; raised if a field changes its meaning or goes."""
_VERDICT: dict[str, Any] = {
    "scope": {"enum": list(get_args(Scope)), "description": "What the verdict is about."},
    "where": {**TEXT, "description": "The cell or line; all cells for the comparison."},
    "measure": {**TEXT, "description": "What was measured; empty where there is no number."},
    "better": {"enum": ["higher", "lower"], "description": "Which direction of the measure is better."},
    "judgement": {"enum": list(get_args(Judgement))},
    "base": {**NUMBER, "description": "The value in the base."},
    "new": {**NUMBER, "description": "The value now."},
    "change": {**NUMBER, "description": "Above 0 where it is better now: in accuracy, or as a share of the base."},
    "p": {**NUMBER, "description": "The p-value after all corrections; null where nothing was tested."},
    "visible": {**NUMBER, "description": "The smallest loss that would have been caught; null if none."},
    "reason": TEXT,
}


def to_json(found: Outcome) -> str:
    """The whole comparison in strict JSON; what is not finite is null."""
    return json.dumps(document(found), indent=2, allow_nan=False) + "\n"


def document(found: Outcome) -> dict[str, Any]:
    """The same as an object; `schema` describes it."""
    scopes = {scope: [verdict for verdict in found.verdicts if verdict.scope == scope] for scope in SCOPES}
    covered = ({"ok": ok, "planned": planned} for ok, planned in found.coverage)
    return {
        "schema": VERSION,
        "passed": found.passed,
        "base": found.base,
        "new": found.new,
        "alpha": found.policy.alpha,
        "margin": _limit(found.policy.margin),
        "limits": {name: _limit(limit) for name, limit in found.policy.limits.items()},
        "failures": list(found.failures),
        "notes": list(found.notes),
        "counts": {scope: counted(own) for scope, own in scopes.items()},
        "coverage": dict(zip(("base", "new"), covered, strict=True)),
        "passed_over": dict(found.passed_over),
        "resolution": [
            {"measure": one.measure, "loss": _finite(one.loss), "unit": "points" if one.points else "share"}
            for one in found.resolution
        ],
        "verdicts": [_verdict(verdict) for verdict in found.verdicts],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    values = {name: _finite(getattr(verdict, name)) for name in ("base", "new", "change", "p", "visible")}
    texts = {name: getattr(verdict, name) for name in ("scope", "measure", "better", "judgement", "reason")}
    both = {"where": verdict.cell, **texts, **values}
    return {name: both[name] for name in _VERDICT}


def _limit(limit: Limit | None) -> str:
    return "off" if limit is None else str(limit)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def schema() -> dict[str, Any]:
    """The JSON Schema (Draft 2020-12) of the document."""
    texts, counts = {"type": "array", "items": TEXT}, {"type": "object", "additionalProperties": COUNT}
    resolution = {"measure": TEXT, "loss": NUMBER, "unit": {"enum": ["points", "share"]}}
    side = object_of({"ok": COUNT, "planned": COUNT})
    properties = {
        "schema": {"const": VERSION},
        "passed": {"type": "boolean", "description": "Whether the new results may replace the base."},
        "base": TEXT,
        "new": TEXT,
        "alpha": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "margin": TEXT,
        "limits": {"type": "object", "additionalProperties": TEXT},
        "failures": {**texts, "description": "Why it fails; empty if it passes."},
        "notes": {**texts, "description": "What to know before the verdicts."},
        "counts": object_of(dict.fromkeys(SCOPES, counts)),
        "coverage": object_of({"base": side, "new": side}),
        "passed_over": {**counts, "description": "How many of what was not judged, by why."},
        "resolution": {"type": "array", "items": object_of(resolution)},
        "verdicts": {"type": "array", "items": object_of(_VERDICT), "description": "The worst first."},
    }
    return document_of("finefuse comparison", properties)
