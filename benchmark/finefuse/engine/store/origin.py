"""What is kept beside every artifact: the job that made it, so that it can be read back, fused again and exported."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from finefuse.engine.order import Order
from finefuse.types import Budget, Job, Record, Ref, Settings


def origin_of(order: Order) -> Record:
    """The job and the settings of an order, as JSON has them."""
    job = asdict(order.job)
    del job["parts"]
    return {"suite": order.suite, "job": job, "settings": asdict(order.settings)}


def job_of(origin: Record) -> Job:
    """The job that made an artifact, from its origin."""
    job: dict[str, Any] = dict(origin)
    if "members" in job:  # kept before each of a job's inputs had its own name
        members = job.pop("members")
        fused = members if job["kind"] == "fuse" else []
        job |= {"fused": fused, "trials": [] if fused else [artifact for _, artifact in members]}
    for name in ("backbone", "dataset", "strategy", "made_for", "source", "search"):
        job[name] = Ref(**job[name]) if job.get(name) else None
    for name in ("metrics", "also_test", "tasks", "followed_by"):
        job[name] = tuple(Ref(**ref) for ref in job.get(name, ()))
    for name in ("fused", "own"):
        job[name] = tuple((member, artifact) for member, artifact in job.get(name, ()))
    for name in ("trials", "needs", "saw", "subset", "aggregate"):
        job[name] = tuple(job.get(name, ()))
    return Job(**job)


def settings_of(origin: Record) -> Settings:
    """The settings under which it was made."""
    made = {"budget": Budget(**origin["budget"]), "augment": tuple(origin["augment"])}
    return Settings(**origin | made)
