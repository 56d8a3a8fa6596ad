"""A suite of the plugins in tests/fixtures/planned.py, its plan, and the one job of it that is meant."""

from __future__ import annotations

from typing import Any

from finefuse.declare.plan import Plan, make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.types import Job, Record

SUITE: dict[str, Any] = {
    "name": "x",
    "seeds": [3, 1],
    "datasets": ["shapes"],
    "backbones": ["small"],
    "schemes": ["full", "probe"],
    "fusions": ["vote", "soup"],
    "pools": {"same": {"of": ["full"], "copies": 3}, "both": {"of": ["full", "probe"]}},
}


def planned(registry: Registry, device: str = "cpu", **changes: Any) -> Plan:
    return make_plan(load_suite({**SUITE, **changes}, registry), registry, device=device)


def pick(plan: Plan, kind: str, label: str = "", **wanted: object) -> Job:
    """The one job that is like this, of the first seed and the member 0 unless asked otherwise."""
    wanted = {"seed": 0 if kind == "pretrain" else 3, "member": 0, **wanted, "kind": kind, "label": label}
    (job,) = [job for job in plan.jobs if all(getattr(job, name) == value for name, value in wanted.items())]
    return job


def ran(done: Job, seconds: float | None, status: str = "ok") -> Record:
    """The row that a job may have left."""
    scores = {"metrics": ["hits"], "test.hits": 0.5, "single.test.hits": 0.5, "better.hits": "higher"}
    named = done.place._asdict() | {"cell": done.cell, "key": done.key}
    named |= {"use": done.strategy.name if done.strategy else ""}
    return named | scores | {"status": status, "seconds": seconds}
