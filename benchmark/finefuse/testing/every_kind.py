"""The kit for whatever stands behind a name or in a file, of every kind."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from finefuse.declare.choice import called
from finefuse.discovery import capabilities
from finefuse.discovery.registry import KINDS, Door, Registry
from finefuse.errors import PluginError, did_you_mean
from finefuse.testing.backbone_rules import BACKBONE_CHECKS
from finefuse.testing.dataset_rules import DATASET_CHECKS
from finefuse.testing.elsewhere import same_elsewhere
from finefuse.testing.executor_rules import EXECUTOR_CHECKS
from finefuse.testing.fusion_rules import FUSION_CHECKS
from finefuse.testing.metric_rules import METRIC_CHECKS
from finefuse.testing.observer_rules import OBSERVER_CHECKS
from finefuse.testing.report import Check, Report, tell
from finefuse.testing.reporter_rules import REPORTER_CHECKS
from finefuse.testing.scheme_rules import SCHEME_CHECKS
from finefuse.testing.suite_rules import suite_checks
from finefuse.types import PluginKind, Ref

CHECKS: Mapping[PluginKind, dict[str, Check]] = {
    "dataset": DATASET_CHECKS,
    "backbone": BACKBONE_CHECKS,
    "scheme": SCHEME_CHECKS,
    "fusion": FUSION_CHECKS,
    "metric": METRIC_CHECKS,
    "executor": EXECUTOR_CHECKS,
    "reporter": REPORTER_CHECKS,
    "observer": OBSERVER_CHECKS,
}
"""The rules, by kind of plugin."""
ELSEWHERE = "other-process-same-bits"


def check_plugin(
    what: str | os.PathLike[str],
    *,
    plugins: Collection[Door] = (),
    skip: Collection[str] = (),
    expected: Mapping[str, str] | None = None,
) -> list[Report]:
    """Try all that a file of plugins provides, or what has this name, which may have parameters, as in `lora(rank=2)`.

    `plugins` are further ones, as in a run. Unlike the checks for each kind, this also tries data sets, backbones,
    schemes, fusions and metrics in two other processes, which differ in `PYTHONHASHSEED`, the date and the order of
    calls. Nothing is raised for a rule that is broken: the reports say so.

    Raises:
        PluginError: if there is no such plugin, or the file is broken.
        AssertionError: if `skip` or `expected` names no rule of these plugins.
    """
    given = os.fspath(what)
    if given.endswith(".py") or os.sep in given:
        if not Path(given).expanduser().is_file():
            raise PluginError(f"there is no file {given}")
        registry = Registry((*plugins, given))
        found, suites = _of_file(registry, os.path.realpath(Path(given).expanduser()))
    else:
        registry = Registry(tuple(plugins))
        found, suites = _of_name(registry, given)
    rules = {rule for kind, _ in found for rule in checks_of(registry, kind, Ref("x"))}
    rules |= set(suite_checks()) if suites else set()
    wanted = (*skip, *(expected or {}))
    for rule in wanted:
        if rule not in rules:
            hint = did_you_mean(rule, rules) or f"; there are {', '.join(sorted(rules))}"
            raise PluginError(f"there is no rule {rule!r}{hint}")
    reports = []
    for kind, ref in found:
        plugin, checks = registry.build(kind, ref), checks_of(registry, kind, ref)
        capabilities.check(kind, plugin)
        mine = {rule: why for rule, why in (expected or {}).items() if rule in checks}
        report = tell(plugin, checks, [rule for rule in skip if rule in checks], mine)
        reports.append(Report(f"{kind} {ref}", report.checked))
    checks = suite_checks((*plugins, *registry.doors))
    for path in suites:
        report = tell(path, checks, [rule for rule in skip if rule in checks], {})
        reports.append(Report(f"suite {path.stem}", report.checked))
    return reports


def checks_of(registry: Registry, kind: PluginKind, ref: Ref) -> dict[str, Check]:
    """The rules for one kind, with that of the other process where it concerns the kind."""
    alone = kind in ("executor", "reporter", "observer")
    elsewhere: Check = partial(same_elsewhere, kind=kind, ref=ref, doors=registry.doors)
    return CHECKS[kind] | ({} if alone else {ELSEWHERE: elsewhere})


Found = tuple[list[tuple[PluginKind, Ref]], list[Path]]


def _of_file(registry: Registry, file: str) -> Found:
    broken = [info for info in registry.plugins() if info.name == file and info.status == "broken"]
    if broken:
        raise PluginError(f"{file} is broken: {broken[0].reason}")
    found = [(kind, Ref(one.entry.name)) for kind in KINDS for one in registry.entries(kind) if one.provider == file]
    suites = [path for path, provider in registry.suite_files() if provider == file]
    if not found and not suites:
        raise PluginError(f"{file} provides no plugin of any kind")
    return found, suites


def _of_name(registry: Registry, text: str) -> Found:
    ref = called(text)
    found: list[tuple[PluginKind, Ref]] = []
    for kind in KINDS:
        found += [(kind, ref) for one in registry.entries(kind) if one.entry.name == ref.name]
    suites = [path for name, path in registry.suites().items() if name == text]
    if not found and not suites:
        names = {one.entry.name for kind in KINDS for one in registry.entries(kind)} | set(registry.suites())
        raise PluginError(f"there is no plugin {ref.name!r} of any kind{did_you_mean(ref.name, names)}")
    return found, suites


def told(reports: Collection[Report]) -> dict[str, Any]:
    """How many rules came out how, over all reports."""
    outcomes = [one.outcome for report in reports for one in report.checked]
    return {outcome: outcomes.count(outcome) for outcome in dict.fromkeys(outcomes)}
