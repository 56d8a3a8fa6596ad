"""The new values of a comparison for what keeps a history: Bencher, github-action-benchmark, pytest-benchmark."""

from __future__ import annotations

import json
import math
import platform
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from finefuse.judge.gate.outcome import Outcome
from finefuse.types import Verdict
from finefuse.version import __version__

_UNITS = {"train_s": "s", "memory": "bytes", "size": "bytes", "flops": "operations", "parameters": "parameters"}


def to_bencher(found: Outcome) -> str:
    """Bencher Metric Format: values by benchmark and measure; latencies in nanoseconds, as its convention is."""
    told: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for verdict in _values(found):
        latency = verdict.measure.startswith("latency")
        measure = _measure(verdict).replace(".", "-")
        told[verdict.cell][measure] = {"value": verdict.new * 1e9 if latency else verdict.new}
    return json.dumps(told, indent=2, allow_nan=False) + "\n"


def to_gh_benchmark(found: Outcome, better: str) -> str:
    """The array of github-action-benchmark (customSmallerIsBetter or customBiggerIsBetter) for one direction.

    What has no value is not there: it never takes null.
    """
    told = [
        {
            "name": f"{v.cell} {_measure(v)}",
            "value": v.new,
            "unit": _unit(_measure(v)),
            "extra": f"{v.judgement} {v.reason}",
        }
        for v in _values(found)
        if v.better == better
    ]
    return json.dumps(told, indent=2, allow_nan=False) + "\n"


def to_pytest_benchmark(found: Outcome) -> str:
    """The JSON of pytest-benchmark 5: a benchmark of one round for each time, other values as its `extra_info`."""
    aside: dict[str, dict[str, float]] = defaultdict(dict)
    times = []
    for verdict in _values(found):
        if verdict.measure == "train_s" or verdict.measure.startswith("latency"):
            times.append(verdict)
        else:
            aside[verdict.cell][_measure(verdict)] = verdict.new
    document = {
        "machine_info": _machine(),
        "commit_info": {"id": "unversioned", "time": None, "author_time": None, "dirty": False, "branch": "(unknown)"},
        "benchmarks": [_benchmark(verdict, aside[verdict.cell]) for verdict in times],
        "datetime": datetime.now(UTC).isoformat(),
        "version": f"finefuse {__version__}",
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _values(found: Outcome) -> Iterator[Verdict]:
    """All verdicts with a value now, and a place of their own: of lines, else of their single cell."""
    seen = set()
    for verdict in sorted(found.verdicts, key=lambda verdict: verdict.scope != "line"):
        place = verdict.cell, _measure(verdict)
        if math.isfinite(verdict.new) and verdict.scope != "comparison" and place not in seen:
            seen.add(place)
            yield verdict


def _measure(verdict: Verdict) -> str:
    return verdict.measure or "score"


def _unit(measure: str) -> str:
    return "s" if measure.startswith("latency") else _UNITS.get(measure, measure)


def _machine() -> dict[str, Any]:
    """What pytest-benchmark says of a machine, without its name."""
    python = platform.python_implementation(), platform.python_version()
    return {
        "node": "",
        "processor": platform.processor(),
        "machine": platform.machine(),
        "python_compiler": platform.python_compiler(),
        "python_implementation": python[0],
        "python_implementation_version": python[1],
        "python_version": python[1],
        "python_build": list(platform.python_build()),
        "release": "",
        "system": platform.system(),
        "cpu": {},
    }


def _benchmark(verdict: Verdict, aside: dict[str, float]) -> dict[str, Any]:
    seconds = verdict.new
    name = f"{verdict.cell} {verdict.measure}"
    centre = dict.fromkeys(("min", "max", "mean", "median", "q1", "q3", "ld15iqr", "hd15iqr", "total"), seconds)
    spread = {"stddev": 0.0, "iqr": 0.0, "iqr_outliers": 0, "stddev_outliers": 0, "outliers": "0;0"}
    rounds = {"rounds": 1, "iterations": 1, "ops": 1 / seconds if seconds else 0.0, "data": [seconds]}
    options = {"disable_gc": False, "timer": "perf_counter", "min_rounds": 1, "max_time": 0.0, "min_time": 0.0}
    return {
        "group": verdict.measure,
        "name": name,
        "fullname": name,
        "params": None,
        "param": None,
        "extra_info": aside,
        "options": {**options, "precision": None, "confidence": None, "warmup": False},
        "stats": {**centre, **spread, **rounds},
    }
