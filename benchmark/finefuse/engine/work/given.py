"""What schemes read of networks from elsewhere: files of weights, heads made of text; and what rows say of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor, nn

from finefuse.declare.facts import Facts
from finefuse.declare.lines import strategy_parts
from finefuse.declare.strategy import Strategy
from finefuse.discovery import capabilities
from finefuse.errors import FinefuseError
from finefuse.nets import Net
from finefuse.types import Backbone, Job, PluginKind, Record, Scheme, Task

Read = Callable[[Path, "str | None", bool], Net]
NOT_READ = ("source ", "version of ")
"""Parts of an address that are code, which a run has loaded before."""


def reader(backbone: Backbone, task: Task, place: Callable[[nn.Module], None]) -> Read | None:
    """What reads a file as the backbone's network, moved to its place; None for backbones that read none."""
    known = capabilities.reads_members(backbone)
    if known is None:
        return None

    def read(file: Path, key: str | None, head: bool) -> Net:
        net = known.member(task, file, key, head)
        place(net)
        return net.eval()

    return read


def text_head(backbone: Backbone) -> Callable[[Sequence[Sequence[str]]], Tensor] | None:
    """What makes a head out of sentences; None for backbones that have no tower for text."""
    known = capabilities.embeds_text(backbone)
    return None if known is None else known.text_head


def refuse_changed_files(facts: Facts, job: Job) -> None:
    """Nothing, if the files and folders that a scheme or fusion has read are what they were when it was planned.

    Raises:
        FinefuseError: else, because the results would be kept under the address of what is gone.
    """
    planned = dict(job.parts)
    assert job.strategy is not None
    if not any(kind in ("scheme", "fusion") and facts.reads_files(kind, ref) for kind, ref in job.plugins):
        return
    of = Strategy(job.label, job.strategy, search=job.search, followed_by=job.followed_by)
    kind: PluginKind = "fusion" if job.fused else "scheme"
    for part, value in strategy_parts(facts, kind, of).items():
        name = part.rpartition(": ")[2]
        if not part.startswith(NOT_READ) and planned.get(part, value) != value:
            told = f"the {name} of {job.label} has changed since the suite was planned"
            raise FinefuseError(f"{told}; run again to make a new plan")


def given(scheme: Scheme, label: str) -> Record:
    """Of a scheme whose network was tuned elsewhere: where it is from, and no bill."""
    origin = capabilities.given(scheme)
    return {} if origin is None else {"given": {label: origin}, "seconds": 0.0, "cpu_seconds": 0.0, "trainable": 0}


def given_of(metas: Sequence[Record]) -> Record:
    """What of these networks was tuned elsewhere, and where it is from."""
    found = {name: origin for meta in metas for name, origin in meta.get("given", {}).items()}
    return {"given": found} if found else {}
