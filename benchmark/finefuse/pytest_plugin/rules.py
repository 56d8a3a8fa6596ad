"""The rules of the conformance kit, one test each: what is not run is skipped, what is expected to fail is xfailed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from finefuse.testing.every_kind import CHECKS
from finefuse.testing.report import Check, called, tried
from finefuse.testing.suite_rules import SUITE_CHECKS


def each_rule(kind: str) -> dict[str, Callable[..., None]]:
    """The rules for a kind of plugin, by name, as calls for one plugin that end as a test does."""
    checks: Mapping[str, Check] = SUITE_CHECKS if kind == "suite" else {**CHECKS}[kind]  # type: ignore[index]
    return {rule: _as_test(rule, check) for rule, check in checks.items()}


def _as_test(rule: str, check: Check) -> Callable[..., None]:
    def one(plugin: Any, expected: Mapping[str, str] | None = None) -> None:
        """Fail if the rule is broken; `expected` gives reasons for rules that the plugin doesn't keep."""
        found = tried(rule, check, plugin, expected=(expected or {}).get(rule, ""))
        if found.outcome == "not run":
            pytest.skip(found.why)
        if found.outcome == "expected":
            pytest.xfail(found.why)
        if found.outcome == "broken":
            pytest.fail(f"{called(plugin)}: {rule}: {found.why}", pytrace=False)

    return one
