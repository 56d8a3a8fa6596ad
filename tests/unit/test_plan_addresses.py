"""The addresses of a few plans, versions and sources aside: what a job's fields are called moves none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

import finefuse
from finefuse import Entry
from finefuse.declare import facts, jobs
from finefuse.discovery.registry import Registry
from helpers.planning import planned

ROUNDS = {"fusions": ["vote", {"use": "soup", "rounds": 3}], "pools": {"same": {"of": ["full"], "copies": 2}}}
ACROSS = {"backbones": ["small", "other"], "pools": {"wide": {"of": ["full"], "backbones": ["small", "other"]}}}
SEARCH = {"schemes": ["full", {"use": "seek", "of": "full", "as": "sought"}], "pools": {"one": {"of": ["sought"]}}}


@dataclass(frozen=True)
class Seek:
    """A search of four trials, the last of which has to know of all before it."""

    of: str = "full"

    def tune(self, on: Any) -> None:
        raise AssertionError("planning must not train")

    def plan(self, space: Any) -> list[tuple[int, ...]]:
        return [(), (), (), (0, 1, 2)]

    def extremes(self, space: Any) -> list[dict[str, Any]]:
        return []

    def suggest(self, trial: int, told: Sequence[Any], space: Any, seed: int) -> dict[str, Any]:
        raise AssertionError("planning must not search")

    def at_edge(self, params: Any, space: Any) -> list[str]:
        raise AssertionError("planning must not search")


class Plugin:
    @finefuse.hookimpl
    def finefuse_schemes(self):
        yield Entry("seek", Seek, "looks for the best setting")


@pytest.mark.parametrize(
    ("changes", "number", "digest"),
    [
        ({}, 27, "82392979e3f629b8"),
        ({"latency": [1, 8]}, 27, "f7202fea63c87dff"),
        (ROUNDS, 29, "6ed66c5d9ddb03a2"),
        (ACROSS, 22, "3d10fc4c36007584"),
        (SEARCH, 23, "1673a1740392356a"),
    ],
    ids=["plain", "latency", "rounds", "across", "search"],
)
def test_addresses_are_what_they_were(plugins, monkeypatch, changes: dict[str, Any], number: int, digest: str) -> None:
    monkeypatch.setattr(facts, "source_digests", lambda cls: {})
    monkeypatch.setattr(jobs, "COUNTED", {})
    monkeypatch.setattr(jobs, "environment", lambda device, settings: {"device kind": device})
    plan = planned(Registry([plugins, Plugin()], entry_points=False), **changes)
    text = "\n".join(f"{job.cell} {job.artifact} {job.key} {sorted({*job.inputs})}" for job in plan.jobs)
    assert (len(plan.jobs), hashlib.sha256(text.encode()).hexdigest()[:16]) == (number, digest)
