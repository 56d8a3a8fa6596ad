"""Orders to workers, and the fields that every row has, whether its job went well or not. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from finefuse.discovery.registry import Door
from finefuse.errors import NotApplicable, out_of_memory
from finefuse.rows import SCHEMA
from finefuse.types import Job, PluginKind, Record, Ref, Settings, Status


@dataclass(frozen=True)
class Order:
    """One job with all that a worker needs to carry it out."""

    job: Job
    suite: str
    settings: Settings
    latency: tuple[int, ...]
    device: str
    store: str
    doors: tuple[Door, ...]
    contents: Mapping[tuple[PluginKind, Ref], str] = field(default_factory=dict)
    """The fingerprints that data sets and backbones had when the suite was planned."""
    beside: int = 1
    """How many jobs may be on the device at a time."""
    log: str = ""
    """The file that takes what the job prints; "" for none."""


def identity(order: Order) -> Record:
    """The fields that say which job a row belongs to."""
    job = order.job
    return {
        "schema": SCHEMA,
        "suite": order.suite,
        "cell": job.cell,
        "key": job.key,
        "artifact": job.artifact,
        **job.place.fields(),
        **({"subset": list(job.subset)} if job.subset else {}),
        "dataset_use": job.dataset.name if job.dataset else "",
        "backbone_use": job.backbone.name,
        "use": job.strategy.name if job.strategy else "",
        "params": job.strategy.kwargs if job.strategy else {},
        "level": job.level,
        "needs": list(job.needs),
        **({"followed_by": [*map(str, job.followed_by)], "saw": [*job.saw]} if job.followed_by else {}),
        "members": len(job.fused),
        **({"fused": dict(job.fused)} if job.fused and not job.timed else {}),
        "device": order.device,
        "precision": order.settings.precision,
        "threads": order.settings.threads,
        "channels_last": order.settings.channels_last,
        "compile": order.settings.compile,
        "tf32": order.settings.tf32,
        "portable": order.settings.portable,
        "parts": dict(job.parts),
    }


def row(order: Order, status: Status, **fields: object) -> Record:
    """A finished row."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {**identity(order), "status": status, "reason": "", **fields, "finished": now}


def status_of(error: BaseException) -> Status:
    """The status of a row whose job raised this."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, NotApplicable):
        return "skipped"
    return "oom" if out_of_memory(error) else "failed"
