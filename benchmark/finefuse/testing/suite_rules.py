"""The rules for suites that can be run by name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from finefuse import api
from finefuse.discovery.registry import Door
from finefuse.testing.report import Check, Report, require, tell


def check_suite(
    suite: Path | str,
    *,
    plugins: Collection[Door] = (),
    skip: Collection[str] = (),
    expected: Mapping[str, str] | None = None,
) -> Report:
    """Check the file of a suite, without running it; `plugins` has what it needs that isn't installed.

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    report = tell(Path(suite), suite_checks(plugins), skip, expected)
    require(not report.complaint, report.complaint)
    return report


def _planned(suite: Any, plugins: Collection[Door]) -> None:
    jobs = api.plan(suite, device="cpu", plugins=tuple(plugins)).jobs
    require(jobs, "it has no jobs")
    reasons = {job.skip for job in jobs if job.skip}
    require(not reasons, f"jobs would be skipped: {'; '.join(sorted(reasons))}")


def _named(suite: Any, plugins: Collection[Door]) -> None:
    name, stem = api.plan(suite, device="cpu", plugins=tuple(plugins)).suite.name, Path(suite).stem
    require(name == stem, f"it is called {name!r}, and its file {stem!r}, by which it is run")
    require(re.fullmatch(r"[\w.-]+", stem), f"its name {stem!r} has more than letters, digits, dots and hyphens")


def _seeded(suite: Any, plugins: Collection[Door]) -> None:
    seeds = api.plan(suite, device="cpu", plugins=tuple(plugins)).suite.seeds
    require(len(seeds) > 1, "it has one seed, and chance can't be told from one")


def suite_checks(plugins: Collection[Door] = ()) -> dict[str, Check]:
    """The rules, for a suite that needs these plugins."""
    return {
        "can-be-planned": partial(_planned, plugins=plugins),
        "is-called-as-its-file": partial(_named, plugins=plugins),
        "has-several-seeds": partial(_seeded, plugins=plugins),
    }


SUITE_CHECKS: dict[str, Check] = suite_checks()
