"""Table of contents; imports no mergekit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from finefuse import Entry, hookimpl

NAMES = (
    "linear",
    "slerp",
    "nuslerp",
    "multislerp",
    "karcher",
    "task_arithmetic",
    "ties",
    "dare_linear",
    "dare_ties",
    "breadcrumbs",
    "breadcrumbs_ties",
    "della",
    "della_linear",
    "model_stock",
    "sce",
    "ram",
    "ramplus_tl",
    "nearswap",
    "arcee_fusion",
    "passthrough",
)


@hookimpl
def finefuse_fusions() -> Iterable[Entry[Any]]:
    for name in NAMES:
        summary = f"{name} as mergekit computes it"
        yield Entry(f"mergekit:{name}", f"finefuse_mergekit.methods:{name}", summary, requires=("mergekit",))
