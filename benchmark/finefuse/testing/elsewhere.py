"""The same results in another process: with another `PYTHONHASHSEED`, on another day, and without what ran before."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from finefuse.discovery import capabilities
from finefuse.discovery.registry import Door, Registry
from finefuse.engine.measure.scores import tensor_digest
from finefuse.engine.randomness import seeded
from finefuse.errors import NotApplicable
from finefuse.testing.fusion_rules import fused_outputs
from finefuse.testing.metric_rules import TASKS as METRIC_TASKS
from finefuse.testing.report import NotRun, require
from finefuse.testing.rules import is_for
from finefuse.testing.scheme_rules import tuned_outputs
from finefuse.testing.small import TASKS, small_data
from finefuse.types import PluginKind, Ref, Task

DAYS = 400
"""How much later it is in the other process."""
SEED = 3
HASHING = ("1", "2")
"""Seeds for the hashes of texts, in the two other processes."""


def same_elsewhere(_: Any, kind: PluginKind, ref: Ref, doors: Sequence[Door]) -> None:
    """Fails if the plugin comes to other results in two other processes, which differ in hashes, date and order.

    Raises:
        NotRun: if other processes can't import it.
    """
    if not all(isinstance(door, str) for door in doors):
        raise NotRun("objects can't be sent to other processes")
    order = json.dumps({"kind": kind, "name": ref.name, "params": ref.kwargs, "doors": list(doors)})
    first, second = (_asked(order, seed, late) for seed, late in zip(HASHING, ("", "late"), strict=True))
    different = [name for name, digest in first.items() if second.get(name) != digest]
    require(
        not different,
        f"two processes with another PYTHONHASHSEED, date and order of calls differ on {', '.join(different)}",
    )


def _asked(order: str, hashing: str, late: str) -> dict[str, str]:
    environment = {**os.environ, "PYTHONHASHSEED": hashing}
    command = [sys.executable, "-c", f"from finefuse.testing.elsewhere import answer; answer({late!r})"]
    done = subprocess.run(command, input=order, env=environment, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
    require(done.returncode == 0, f"in another process: {last[0]}")
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found


def answer(late: str) -> None:
    """Carry out the order on stdin and print the digests of results; `late` is for a later day and another order."""
    if late:
        _some_days_later()
    order = json.loads(sys.stdin.read())
    kind, ref = order["kind"], Ref.of(order["name"], **order["params"])
    plugin = Registry(tuple(order["doors"])).build(kind, ref)
    print(json.dumps(results(kind, plugin, backwards=bool(late))))


def results(kind: PluginKind, plugin: Any, *, backwards: bool = False) -> dict[str, str]:
    """Digests of what a plugin comes to on the small tasks, in this order or the other one."""
    found: dict[str, str] = {}
    tasks: Sequence[Task] = TASKS[::-1] if backwards else TASKS
    if kind == "dataset":
        for seed in (SEED + 1, SEED) if backwards else (SEED, SEED + 1):
            splits = plugin.splits(seed)
            parts = (splits.train, splits.val, splits.test)
            found[f"splits of seed {seed}"] = tensor_digest(*(tensor for part in parts for tensor in (part.x, part.y)))
        return found | {"the fingerprint": plugin.fingerprint()}
    for task in tasks:
        try:
            with seeded(SEED):
                digest = _digest(kind, plugin, task)
        except NotApplicable:
            continue
        found |= {f"a task of {task.kind} with {task.modality} inputs": digest} if digest else {}
    return found


def _digest(kind: PluginKind, plugin: Any, task: Task) -> str:
    """What it comes to on one task; "" if it isn't for it."""
    if kind in ("scheme", "fusion"):
        outputs = tuned_outputs if kind == "scheme" else fused_outputs
        return tensor_digest(outputs(plugin, task)) if is_for(plugin, task) else ""
    if kind == "metric":
        if task not in METRIC_TASKS.values() or not is_for(plugin, task):
            return ""
        y = small_data(task, 40, SEED).y
        return repr(plugin.score(torch.randn(40, task.outputs), y))
    if capabilities.refusal(plugin, task, None):
        return ""
    state = plugin.build(task).state_dict()
    names = hashlib.sha256("".join(state).encode()).hexdigest()
    return names + tensor_digest(*state.values())


def _some_days_later() -> None:
    """Put the clocks of `time` and `datetime` forward, for whatever is imported from now on."""
    seconds = DAYS * 86_400
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() + seconds
    time.time_ns = lambda: now_ns() + seconds * 10**9

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return cls.fromtimestamp(time.time(), tz)

        @classmethod
        def today(cls) -> Later:
            return cls.now()

    class Day(datetime.date):
        @classmethod
        def today(cls) -> Day:
            return cls.fromtimestamp(time.time())

    datetime.datetime, datetime.date = Later, Day  # type: ignore[misc]
