"""A suite: from TOML, or the same from Python, to what is to be measured, with every name and parameter resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from finefuse.declare.choice import RunChoice
from finefuse.declare.facts import Facts
from finefuse.declare.nested import anchored
from finefuse.declare.pool_checks import check_aggregate, check_members_of, check_tasks_of
from finefuse.declare.pool_files import with_files
from finefuse.declare.pools import Pool, make_pools, named
from finefuse.declare.schema import (
    ItemShape,
    RunShape,
    SearchShape,
    SuiteShape,
    UseShape,
    json_schema,
    read_shape,
)
from finefuse.declare.source_test import Asked, check_source_test
from finefuse.declare.stages import followed
from finefuse.declare.strategy import Strategy
from finefuse.declare.suite_text import Source, open_suite, show
from finefuse.declare.task_checks import check_tasks
from finefuse.declare.toml_lines import KeyPath
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.errors import FinefuseError, ParameterError, PluginError
from finefuse.types import Budget, Limits, PluginKind, Ref, Settings
from finefuse.types.aggregate import Aggregate

MAX_GRID = 10_000
PLAIN = ("datasets", "also_test", "backbones", "metrics")
"""Keys of plugins that are not lines of the board."""
_KINDS: dict[str, PluginKind] = {
    "datasets": "dataset",
    "also_test": "dataset",
    "backbones": "backbone",
    "metrics": "metric",
    "schemes": "scheme",
    "fusions": "fusion",
}


@dataclass(frozen=True)
class Suite:
    """What is to be measured. `file` is None for a suite from Python; `latency` holds the batch sizes to time.

    `asked` is the name or path by which the suite was asked for, "" for one from Python, and `table` its content.
    """

    name: str
    file: Path | None
    seeds: tuple[int, ...]
    settings: Settings
    limits: Limits
    datasets: tuple[Ref, ...]
    backbones: tuple[Ref, ...]
    metrics: tuple[Ref, ...]
    schemes: tuple[Strategy, ...]
    fusions: tuple[Strategy, ...]
    pools: tuple[Pool, ...]
    latency: tuple[int, ...]
    also_test: tuple[Ref, ...] = ()
    source_test: Asked = False
    aggregate: Aggregate | None = None
    run: RunChoice = field(default_factory=RunChoice)
    gate: Mapping[str, Any] = field(default_factory=dict)
    asked: str = ""
    table: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def load_suite(source: str | Path | Mapping[str, Any], registry: Registry, *, portable: bool = False) -> Suite:
    """Read a suite by name, from a file, or from a mapping of the same keys, and resolve all that it names.

    `portable` makes it portable whatever it says itself.

    Raises:
        SuiteError: one sentence with file, line and key, and a suggestion, about the first thing that is wrong.
    """
    opened = open_suite(source, registry.suites(), registry.suspicion())
    shape = read_shape(opened)
    portable = portable or shape.portable
    if portable:
        _refuse_unportable(opened, shape)
    _refuse_twins(opened, shape)
    reader = _Reader(opened, Facts(registry))
    plain = {key: tuple(line.ref for line in reader.lines(shape, key)) for key in PLAIN}
    schemes, fusions = reader.strategies(shape, plain)
    schemes, shapes = with_files(opened, shape.pools, schemes, plain, reader.from_file)
    if not schemes:
        raise opened.error((), "the key 'schemes' is missing")
    plain["metrics"] = plain["metrics"] or reader.default_metrics(plain["datasets"])
    check_tasks(opened, reader.facts, plain, schemes)
    asked = reader.source_test(shape, plain["backbones"])
    pools = make_pools(opened, shapes, {line.label: line.ref.name for line in schemes}, plain)
    aggregate = Aggregate(**shape.aggregate.model_dump())
    check_tasks_of(opened, reader.facts, pools)
    check_aggregate(opened, reader.facts, pools, plain["metrics"], aggregate)
    check_members_of(opened, pools, schemes, plain["backbones"])
    if fusions and not pools:
        pools = [Pool("all", tuple(scheme.label for scheme in schemes), 1)]
    return Suite(
        name=shape.name,
        file=opened.file,
        seeds=tuple(shape.seeds),
        settings=_settings(shape, portable=portable),
        limits=Limits(**shape.limits.model_dump()),
        schemes=schemes,
        fusions=fusions,
        pools=tuple(pools),
        latency=tuple(shape.latency),
        source_test=asked,
        aggregate=None if aggregate == Aggregate() else aggregate,
        run=reader.run(shape.run),
        gate=shape.gate.model_dump(exclude_unset=True),
        asked="" if isinstance(source, Mapping) else str(source),
        table=opened.data,
        **plain,
    )


def _refuse_twins(opened: Source, shape: SuiteShape) -> None:
    for key in ("seeds", "latency"):
        opened.refuse_twins(((key, i), str(value)) for i, value in enumerate(getattr(shape, key)))


def _settings(shape: SuiteShape, *, portable: bool) -> Settings:
    return Settings(
        Budget(**shape.budget.model_dump()),
        shape.precision,
        channels_last=shape.channels_last,
        threads=shape.threads,
        selection=shape.selection,
        checkpoints=shape.checkpoints,
        augment=tuple(shape.augment),
        portable=portable,
        **{name: getattr(shape, name) for name in ("compile", "tf32", "deterministic", "accumulate")},
    )


def _refuse_unportable(source: Source, shape: SuiteShape) -> None:
    """Settings under which the bits may depend on more of the processor than what is pinned."""
    for key, only in (("precision", Settings.precision), ("compile", Settings.compile)):
        if (value := getattr(shape, key)) != only:
            why = f"with {show(value)} the bits may still depend on the processor"
            raise source.error((key,), f"must be {show(only)} for portable results: {why}")


def suite_schema(registry: Registry) -> dict[str, Any]:
    """JSON Schema (Draft 2020-12) of the suite file, for editors; it hints at known plugins and refuses no others."""
    return json_schema({key: [found.entry.name for found in registry.entries(kind)] for key, kind in _KINDS.items()})


@dataclass(frozen=True)
class _Reader:
    """Resolves a suite whose keys and types are right; every error gives the place in the file."""

    source: Source
    facts: Facts

    def lines(
        self, shape: SuiteShape, key: str, known: Mapping[str, Sequence[Ref]] | None = None
    ) -> tuple[Strategy, ...]:
        """All plugins under one key, grids expanded; schemes may be for some of the data sets and backbones only."""
        found: list[tuple[KeyPath, Strategy]] = []
        for i, item in enumerate(getattr(shape, key)):
            lines = self._expand((key, i), _KINDS[key], item)
            if item.rounds:
                self._check_rounds((key, i, "rounds"), _KINDS[key], lines)
            if item.choose:
                lines = [self._with_choices((key, i), _KINDS[key], item, line) for line in lines]
            for_data, for_backbones = self._only((key, i), item, known or {})
            lines = [replace(line, datasets=for_data, backbones=for_backbones) for line in lines]
            if item.followed_by:
                lines = [self._followed((key, i), _KINDS[key], item, line) for line in lines]
            found += [((key, i), line) for line in lines]
        comparable = key in ("schemes", "fusions")  # where the same thing may stand twice, under two names
        hint = "; give one another name with `as`" if comparable else ""
        self.source.refuse_twins(((path, line.label) for path, line in found), hint)
        if not comparable:
            self.source.refuse_twins((path, str(replace(line.ref, label=""))) for path, line in found)
        return tuple(line for _, line in found)

    def strategies(
        self, shape: SuiteShape, known: Mapping[str, Sequence[Ref]]
    ) -> tuple[tuple[Strategy, ...], tuple[Strategy, ...]]:
        """The schemes and the fusions, searched if the suite says so."""
        schemes, fusions = self.lines(shape, "schemes", known), self.lines(shape, "fusions")
        if shape.search:
            schemes = tuple(self.searched("scheme", scheme, shape.search) for scheme in schemes)
            fusions = tuple(self.searched("fusion", fusion, shape.search) for fusion in fusions)
        return schemes, fusions

    def _only(
        self, path: KeyPath, item: ItemShape, known: Mapping[str, Sequence[Ref]]
    ) -> tuple[tuple[Ref, ...], tuple[Ref, ...]]:
        """The data sets and the backbones that a scheme is for; none for all."""
        for key, one in (("datasets", "data set"), ("backbones", "backbone")):
            if getattr(item, key) is not None and path[0] != "schemes":
                raise self.source.error((*path, key), f"is for schemes, which may be for some of the {one}s only")
        datasets = named(self.source, (*path, "datasets"), item.datasets or (), known.get("datasets", ()), "data set")
        more = named(self.source, (*path, "backbones"), item.backbones or (), known.get("backbones", ()), "backbone")
        return datasets, more

    def from_file(self, path: KeyPath, label: str, params: Mapping[str, Any]) -> Strategy:
        """The scheme that reads a network from a file."""
        ref = self._resolve(path, "scheme", self._default(path, "files"), params, {})
        return Strategy(label, replace(ref, label=label))

    def run(self, shape: RunShape) -> RunChoice:
        """Its executor, observers and reporters."""
        executor, reporters = shape.executor, shape.reporters
        return RunChoice(
            executor=None if executor is None else self._used(("run", "executor"), "executor", executor),
            workers=shape.workers,
            reporters=None if reporters is None else self._all_used("reporter", reporters),
            observers=self._all_used("observer", shape.observers),
        )

    def _all_used(self, kind: PluginKind, items: Sequence[UseShape]) -> tuple[Ref, ...]:
        paths = [("run", f"{kind}s", i) for i in range(len(items))]
        refs = tuple(self._used(path, kind, item) for path, item in zip(paths, items, strict=True))
        self.source.refuse_twins((path, str(ref)) for path, ref in zip(paths, refs, strict=True))
        return refs

    def _used(self, path: KeyPath, kind: PluginKind, item: UseShape) -> Ref:
        return self._resolve(path, kind, item.use, item.params, {})

    def _followed(self, path: KeyPath, kind: PluginKind, item: ItemShape, line: Strategy) -> Strategy:
        """A line with the stages that follow it."""
        place = (*path, "followed_by")
        if kind != "fusion":
            raise self.source.error(place, "is for fusions: its stages change what was fused")
        stages = [self._used((*place, i), "fusion", stage) for i, stage in enumerate(item.followed_by or ())]
        return followed(self.source, self.facts, place, line, stages, named=item.as_ is not None)

    def source_test(self, shape: SuiteShape, backbones: Sequence[Ref]) -> Asked:
        """Whether bodies are scored on what they were pretrained for, or the data set that is declared for it."""
        asked = shape.source_test
        found = asked if isinstance(asked, bool) else self._used(("source_test",), "dataset", asked)
        check_source_test(self.source, self.facts, found, backbones)
        return found

    def _check_rounds(self, path: KeyPath, kind: PluginKind, lines: Sequence[Strategy]) -> None:
        if kind != "fusion":
            raise self.source.error(path, "only fusions go in rounds")
        for line in lines:
            if line.rounds > 1 and line.search:
                raise self.source.error(path, "doesn't go with a search: which parameters would the next round have?")
            level = self.facts.level(line.ref)
            if line.rounds > 1 and level != "weight":
                raise self.source.error(
                    path,
                    f"{line.ref.name} fuses on the {level} level, and only one network, as methods of the weight "
                    "level give it, can be fine-tuned again",
                )

    def _with_choices(self, path: KeyPath, kind: PluginKind, item: ItemShape, line: Strategy) -> Strategy:
        """A line with the fusions that it is chosen from."""
        place, lists = (*path, "choose"), item.choose or {}
        if kind != "fusion":
            raise self.source.error(place, "only fusions are chosen so; those of schemes are for the table [search]")
        if line.rounds > 1:
            raise self.source.error(place, "doesn't go with rounds: which parameters would the next round have?")
        if line.search:
            raise self.source.error(place, "doesn't go with a search, which has its own `space`")
        if (level := self.facts.level(line.ref)) != "weight":
            said = f"{line.ref.name} fuses on the {level} level, and what is chosen must be one network"
            raise self.source.error(place, said)
        if prod(map(len, lists.values())) > MAX_GRID:
            raise self.source.error(place, f"has more than {MAX_GRID:,} combinations")
        for name in lists:
            if name in line.ref.kwargs:
                raise self.source.error((*place, name), "is given both alone and to choose from")
        points = [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]
        found = [self._resolve(path, kind, item.use, line.ref.kwargs, point, "choose") for point in points]
        self.source.refuse_twins(((place), str(ref)) for ref in found)
        return replace(line, choices=tuple(found))

    def searched(self, kind: PluginKind, line: Strategy, how: SearchShape) -> Strategy:
        """The search for a line's parameters, under its own label; without a space it stays as it is.

        So does a fusion that goes in rounds, or that is chosen or searched in its own way.
        """
        if line.choices or line.search or line.rounds > 1 or not self.facts.space(kind, line.ref):
            return line
        spec = {"use": line.ref.name, **line.ref.kwargs}
        given = {"of": spec, "trials": how.trials, "sampler": how.sampler}
        found = self._resolve(("search",), "scheme", self._default(("search",), "search"), given, {}, inside=kind)
        return replace(line, ref=found) if kind == "scheme" else replace(line, search=found)

    def _searches(self, kind: PluginKind, name: str) -> bool:
        """Whether a name among the fusions is that of a scheme which searches, for the parameters of a fusion."""
        registry = self.facts.registry
        if kind != "fusion" or any(name == found.entry.name for found in registry.entries("fusion")):
            return False
        known = any(name == found.entry.name for found in registry.entries("scheme"))
        return known and capabilities.searches(registry.target("scheme", name))

    def _default(self, path: KeyPath, role: str) -> str:
        """The name of the scheme that has a role where none is named."""
        try:
            return self.facts.registry.default("scheme", role)
        except PluginError as error:
            raise self.source.error(path, str(error)) from error

    def _head(self, path: KeyPath, kind: PluginKind, item: ItemShape) -> tuple[dict[str, Any], bool]:
        """The parameters of a plugin, and whether it is a scheme whose head shall stay as a probe leaves it."""
        if kind != "scheme" or "head" not in item.params:
            return item.params, False
        if "head" in (p.name for p in self.facts.registry.parameters("scheme", item.use)):
            return item.params, False
        if item.params["head"] != "frozen":
            raise self.source.error((*path, "head"), f'must be "frozen", not {show(item.params["head"])}')
        return {name: value for name, value in item.params.items() if name != "head"}, True

    def _expand(self, path: KeyPath, kind: PluginKind, item: ItemShape) -> list[Strategy]:
        grid = item.grid or {}
        if prod(map(len, grid.values())) > MAX_GRID:
            raise self.source.error((*path, "grid"), f"has more than {MAX_GRID:,} combinations")
        for name in grid:
            if name in item.params:
                raise self.source.error((*path, name), "is given both alone and in the grid")
        lines, (params, frozen), searches = [], self._head(path, kind, item), self._searches(kind, item.use)
        for values in product(*grid.values()):
            point = dict(zip(grid, values, strict=True))
            found = "scheme" if searches else kind
            ref = self._resolve(path, found, item.use, params, point, inside=kind if searches else None)
            label = Ref.of(item.as_, **point) if item.as_ else Ref.of(item.use, **item.params, **point)
            if frozen:
                given = {"of": {"use": ref.name, **ref.kwargs}}
                ref = self._resolve(path, kind, self._default(path, "frozen head"), given, {})
            search = ref if searches else None
            ref = self.facts.searched(ref) if searches else replace(ref, label=str(label)) if item.as_ else ref
            lines.append(Strategy(str(label), ref, item.rounds or 1, search=search))
        return lines

    def _resolve(
        self,
        path: KeyPath,
        kind: PluginKind,
        name: str,
        given: Mapping[str, Any],
        point: Mapping[str, Any],
        point_of: str = "grid",
        inside: PluginKind | None = None,
    ) -> Ref:
        """A plugin with its parameters, checked; `inside` is the kind of what a search is for."""
        for key, value in (*given.items(), *point.items()):
            try:
                Ref.of(name, **{key: value})
            except (TypeError, ValueError):
                raise self.source.error((*path, key), f"{show(value)} can't be a parameter's value") from None
        try:
            ref = Ref.of(name, **anchored(self.facts, self.source.folder, kind, name, {**given, **point}, inside))
            if inside is None:
                self.facts.check(kind, ref)
            else:
                self.facts.check_search(ref, inside)
        except ParameterError as error:
            within = (point_of, error.key) if error.key in point else (error.key,) if error.key in given else ()
            raise self.source.error((*path, *within), str(error)) from error
        except FinefuseError as error:
            raise self.source.error(path, str(error)) from error
        return ref

    def default_metrics(self, datasets: Sequence[Ref]) -> tuple[Ref, ...]:
        """For every kind of task the metric that says it is the default for it."""
        found: dict[str, Ref] = {}
        for dataset in datasets:
            kind = self.facts.task(dataset).kind
            try:
                name = self.facts.registry.default("metric", kind)
            except PluginError as error:
                raise self.source.error(("metrics",), f"is missing, and {dataset} is {kind}: {error}") from error
            found[kind] = self._resolve(("metrics",), "metric", name, {}, {})
        return tuple(dict.fromkeys(found.values()))
