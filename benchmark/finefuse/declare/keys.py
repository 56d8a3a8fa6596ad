"""Content addresses: what may change a result, and why a cell is stale. Computed without torch or loading data."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any

from finefuse.discovery.imports import source_digests
from finefuse.files import file_digest
from finefuse.processor import PINNED, gpu_models, instruction_sets, processor, refuse_unpinnable
from finefuse.types import Settings

__all__ = [
    "RESULTS_VERSION",
    "address",
    "canonical",
    "derive_seed",
    "digest",
    "environment",
    "explain",
    "file_digest",
    "source_digests",
]

RESULTS_VERSION = 3
"""Raised by hand with any change of the core that may move a result."""
COUNTING = "2"
"""Raised by hand where a network gets another number of FLOPs: rows are made again, and nothing is trained again."""

_TEXT = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
FEW = 8
"""Parts of its own up to which an address is put together from the text of the shared ones."""
_DIGEST = re.compile(r"[0-9a-f]{16,64}")


def canonical(value: Any) -> str:
    """One JSON text per JSON-able value: sorted keys, no spaces."""
    return _TEXT.encode(value)


def digest(value: Any) -> str:
    """A short digest (16 hex digits) of a JSON-able value."""
    return _sha256(canonical(value))[:16]


def address(parts: Mapping[str, str]) -> str:
    """The content address (32 hex digits) of what these parts make."""
    return _sha256(canonical(dict(parts)))[:32]


class Shared:
    """The addresses of what has most parts in common, whose text is written once: the others are put in between."""

    def __init__(self, parts: Mapping[str, str]) -> None:
        self.parts = dict(parts)
        self._gaps: dict[tuple[str, ...], tuple[list[tuple[str, str]], str]] = {}

    def address(self, own: Mapping[str, str]) -> str:
        """The same as `address` of the shared parts and these."""
        if len(own) > FEW or not self.parts.keys().isdisjoint(own):
            return address({**self.parts, **own})
        names = tuple(own)
        if names not in self._gaps:
            self._gaps[names] = self._between(names)
        gaps, rest = self._gaps[names]
        text = "".join([before + canonical(own[name]) for before, name in gaps])
        return _sha256(f"{{{text}{rest}}}")[:32]

    def _between(self, names: Sequence[str]) -> tuple[list[tuple[str, str]], str]:
        """What stands before the text of each of these names, in sorted order, and what comes after the last."""
        gaps: list[tuple[str, str]] = []
        before = ""
        for name in sorted([*self.parts, *names]):
            before += f"{',' if gaps or before else ''}{canonical(name)}:"
            if name in self.parts:
                before += canonical(self.parts[name])
            else:
                gaps.append((before, name))
                before = ""
        return gaps, before


def derive_seed(seed: int, **axes: object) -> int:
    """A seed in [0, 2**63) from a suite's seed and named axes, such as `dataset` or `member`; never from position."""
    text = canonical([seed, sorted((name, str(value)) for name, value in axes.items())])
    return int(_sha256(text)[:16], 16) >> 1


def environment(device: str, settings: Settings) -> dict[str, str]:
    """What of the machine and of this program may change a result; `device` as torch writes it, "cuda:1".

    Portable settings need no part of their own: they decide the bits by the instruction sets.

    Raises:
        FinefuseError: for portable settings, if this machine can't have such results.
    """
    kind, environ = device.partition(":")[0], dict(os.environ)
    if settings.portable:
        refuse_unpinnable(processor())
        environ |= PINNED
    parts = {"device kind": kind, "torch": _version("torch"), "core": str(RESULTS_VERSION)}
    if kind == "cuda":
        parts["GPU"] = ", ".join(gpu_models()) or "unknown"
    return parts | instruction_sets(processor(), environ, settings.precision)


def explain(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """What changed between the parts of two addresses, in one sentence."""
    changes = [_change(name, old[name], new[name]) for name in old if name in new and old[name] != new[name]]
    changes += [f"{name} is new" for name in new if name not in old]
    changes += [f"{name} is gone" for name in old if name not in new]
    more = f"; and {len(changes) - 5} more" if len(changes) > 5 else ""
    return "; ".join(changes[:5]) + more if changes else "nothing changed"


def _change(name: str, old: str, new: str) -> str:
    if _DIGEST.fullmatch(old) or _DIGEST.fullmatch(new):
        return f"{name} changed"
    return f"{name} was {old or 'nothing'} and is {new or 'nothing'}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@cache
def _version(distribution: str) -> str:
    return metadata.version(distribution)
