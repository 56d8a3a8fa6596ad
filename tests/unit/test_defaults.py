"""Which plugins are used where none is named: `Entry.default_for`."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import pytest

from finefuse import Entry, hookimpl
from finefuse.discovery.registry import Registry
from finefuse.errors import PluginError
from finefuse.types import PluginKind, Space, Tuning
from helpers.plugging import module_with, only_info
from helpers.suites import LEAST, complaint


def providing(kind: PluginKind, *entries: Entry) -> Registry:
    hook = {f"finefuse_{kind}s": hookimpl(lambda: list(entries))}
    return Registry([module_with("provider", **hook)], entry_points=False)


def test_the_zoo_fills_every_role_of_the_core():
    zoo = Registry()
    assert zoo.default("executor", "processes") == "local"
    assert zoo.default("executor", "in-process") == "serial"
    assert zoo.default("scheme", "search") == "search"


def test_a_role_that_no_entry_claims_is_one_sentence():
    with pytest.raises(PluginError) as caught:
        providing("executor", Entry("mine", "good:Mine")).default("executor", "processes")
    assert str(caught.value) == "no plugin provides an executor that is the default for 'processes'; name one"


def test_a_role_that_two_entries_claim_is_one_sentence():
    both = [Entry(name, "good:Mine", default_for=("processes",)) for name in ("mine", "yours")]
    registry = providing("executor", *both)
    with pytest.raises(PluginError) as caught:
        registry.default("executor", "processes")
    assert str(caught.value) == (
        "'mine' of provider and 'yours' of provider both claim to be the default executor for 'processes'; name one"
    )


@pytest.mark.parametrize(
    ("kind", "roles", "reason"),
    [
        ("executor", "processes", "whose default_for is not a tuple of strings"),
        ("executor", (3,), "whose default_for is not a tuple of strings"),
        ("executor", ("proceses",), "no executor can be the default for 'proceses'; did you mean 'processes'?"),
        (
            "scheme",
            ("tuning",),
            "no scheme can be the default for 'tuning'; there is search, frozen head, files, probe",
        ),
        ("fusion", ("search",), "no fusion can be the default for 'search'"),
    ],
)
def test_a_wrong_default_for_breaks_its_plugin_with_a_reason(kind: PluginKind, roles: object, reason: str):
    registry = providing(kind, Entry("mine", "good:Mine", default_for=roles))  # type: ignore[arg-type]
    assert only_info(registry).reason.endswith(reason)
    assert registry.entries(kind) == []


def test_a_metric_may_be_the_default_for_any_kind_of_task():
    registry = providing("metric", Entry("deviance", "good:Mine", default_for=("counts",)))
    assert registry.default("metric", "counts") == "deviance"


@dataclass(frozen=True)
class Ranged:
    """A scheme that a search would look into."""

    lr: float = 0.1
    space: ClassVar[Space] = {"lr": {"low": 0.01, "high": 1.0}}

    def tune(self, on: Tuning) -> None:
        raise NotImplementedError


def test_a_suite_that_searches_is_told_where_no_plugin_can(plugins: ModuleType):
    ranged = module_with("ranged", finefuse_schemes=hookimpl(lambda: [Entry("ranged", Ranged)]))
    registry = Registry([plugins, ranged], entry_points=False)
    assert complaint({**LEAST, "schemes": ["ranged"], "search": {"trials": 2}}, registry) == (
        "search: no plugin provides a scheme that is the default for 'search'; name one"
    )
