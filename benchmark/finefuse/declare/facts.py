"""What plans need to know of plugins: asked once, checked, and remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from finefuse.declare.keys import canonical, digest, source_digests
from finefuse.declare.nested import INSIDE, by_content, choices_by_content, each, file_content
from finefuse.discovery import capabilities
from finefuse.discovery.capabilities import DeclarationError
from finefuse.discovery.parameters import holders_of
from finefuse.discovery.registry import Registry
from finefuse.errors import PluginError
from finefuse.types import Budget, PluginKind, Ref, Space, Spec, Task, Vocabulary

RESERVED = frozenset({"use", "as", "grid", "choose", "rounds", "followed_by", "datasets", "backbones"})
"""Keys of a plugin's table in a suite that are not its parameters."""
_CONTENT = ("dataset", "backbone")
"""Kinds whose `fingerprint()` represents the content of the files they read."""


def piece(value: Any) -> str:
    """A JSON-able value as a part of an address: as it is if it is short, so that `plan --why` can say it."""
    text = canonical(value)
    return text if len(text) <= 32 else digest(value)


def version_of(module: str) -> str:
    """The version of the distribution that installed a top-level module; "" where none is known for it."""
    try:
        return metadata.version(module)
    except metadata.PackageNotFoundError:
        names = _distributions().get(module, [])
        return metadata.version(names[0]) if names else ""


@cache
def _distributions() -> Mapping[str, Sequence[str]]:
    """The distributions of each top-level module; it takes a look at every file of every distribution."""
    return metadata.packages_distributions()


def _holds_paths(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return isinstance(value, Path) or any(map(_holds_paths, inside))


class Facts:
    """Answers of the plugins a suite uses, each asked for once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._instances: dict[tuple[PluginKind, Ref], Any] = {}
        self._parts: dict[tuple[PluginKind, Ref, PluginKind | None], dict[str, str]] = {}
        self._unsuited: dict[tuple[Ref, Ref], str] = {}
        self._holders: dict[tuple[PluginKind, str, Any], frozenset[str]] = {}
        self._trials: dict[tuple[Ref, PluginKind], Sequence[Sequence[int]]] = {}
        self._answers: dict[tuple[PluginKind, Ref, str], Any] = {}

    def instance(self, kind: PluginKind, ref: Ref) -> Any:
        """The plugin with its parameters, checked."""
        if (kind, ref) not in self._instances:
            self._instances[kind, ref] = self.registry.build(kind, ref)
        return self._instances[kind, ref]

    def parameters_of(self, kind: PluginKind, name: str, of: Any) -> frozenset[str]:
        """Names of the parameters whose type mentions another: `Path`, or `Spec`."""
        if (kind, name, of) not in self._holders:
            self._holders[kind, name, of] = holders_of(self.registry.target(kind, name), f"{kind} {name!r}", of)
        return self._holders[kind, name, of]

    def reads_files(self, kind: PluginKind, ref: Ref) -> bool:
        """Whether a plugin has parameters that are paths, or may be given to plugins inside it."""
        return any(self.parameters_of(kind, ref.name, what) for what in (Path, Spec))

    def check(self, kind: PluginKind, ref: Ref) -> None:
        """Check everything that a plugin declares and that can be checked without loading data."""
        with _named(kind, ref):
            capabilities.check(kind, self.instance(kind, ref))
        if taken := sorted(RESERVED.intersection(p.name for p in self.registry.parameters(kind, ref.name))):
            raise PluginError(f"the {kind} {ref.name!r} has a parameter {taken[0]!r}, which suites need")
        if kind == "dataset":
            self.task(ref)
        elif kind == "backbone":
            self.source(ref)
        elif kind == "scheme":
            for inner in self.nested(ref):
                self.check("scheme", inner)
                if self.trials(inner):
                    raise PluginError(f"the scheme {ref.name!r}: a search can't be part of another scheme")
                if capabilities.method(self.instance("scheme", inner), "provenance"):
                    said = f"{inner.name} gives a network tuned elsewhere, and can't be part of another scheme"
                    raise PluginError(f"the scheme {ref.name!r}: {said}")
            self.trials(ref)

    def check_search(self, search: Ref, kind: PluginKind) -> None:
        """The same for a search for the parameters of a plugin of a kind, and for that plugin."""
        with _named("scheme", search):
            capabilities.check("scheme", self.instance("scheme", search))
        self.check(kind, self.searched(search))
        self.trials(search, kind)

    def searched(self, search: Ref) -> Ref:
        """The plugin that a search is for.

        Raises:
            PluginError: if the scheme is no search.
        """
        with _named("scheme", search):
            found = capabilities.searcher(self.instance("scheme", search))
        if found is None:
            raise PluginError(f"the scheme {search.name!r} is no search")
        return Ref.read(found.of)

    def task(self, dataset: Ref) -> Task:
        """The task of a data set."""
        return self._ask("dataset", dataset, "task", Task)  # type: ignore[no-any-return]

    def source(self, backbone: Ref) -> Ref | None:
        """The data set a backbone is pretrained on, which must exist."""
        source: Ref | None = self._ask("backbone", backbone, "source", Ref | None)
        if source is not None:
            self.task(source)
        return source

    def head_outputs(self, backbone: Ref) -> int | None:
        """Outputs of the head that a backbone's weights come with; None where they have none."""
        with _named("backbone", backbone):
            return capabilities.head_outputs(self.instance("backbone", backbone))

    def tokens(self, dataset: Ref) -> Vocabulary | None:
        """What the token numbers of a data set mean, if known."""
        with _named("dataset", dataset):
            return capabilities.vocabulary(self.instance("dataset", dataset))

    def unsuited(self, backbone: Ref, dataset: Ref) -> str:
        """Why a backbone can't take a data set, as far as it or its source can tell without torch; "" where it can."""
        if (backbone, dataset) not in self._unsuited:
            self._unsuited[backbone, dataset] = self._find_unsuited(backbone, dataset)
        return self._unsuited[backbone, dataset]

    def _find_unsuited(self, backbone: Ref, dataset: Ref) -> str:
        instance, tokens, source = self.instance("backbone", backbone), self.tokens(dataset), self.source(backbone)
        with _named("backbone", backbone):
            if told := capabilities.refusal(instance, self.task(dataset), tokens):
                return told
        learned = None if source is None else self.tokens(source)
        if tokens is None or learned is None or tokens.digest == learned.digest:
            return ""
        return f"{backbone} was pretrained on the tokens of {learned.name}, and {dataset} has others"

    def metric_kinds(self, metric: Ref) -> tuple[str, ...]:
        """The kinds of task a metric is for."""
        with _named("metric", metric):
            return capabilities.metric_kinds(self.instance("metric", metric))

    def level(self, fusion: Ref) -> str:
        """What a fusion method fuses: outputs, features or weights."""
        with _named("fusion", fusion):
            return capabilities.level(self.instance("fusion", fusion))

    def needs(self, kind: PluginKind, ref: Ref) -> tuple[str, ...]:
        """What a fusion method asks for, or a scheme and those it is made of."""
        instance = self.instance(kind, ref)
        with _named(kind, ref):
            if kind == "fusion":
                return capabilities.fusion_needs(instance)
            own = capabilities.source_needs(instance)
        return tuple(dict.fromkeys([*own, *(need for inner in self.nested(ref) for need in self.needs(kind, inner))]))

    def refusal(self, kind: PluginKind, ref: Ref, dataset: Ref) -> str:
        """Why a strategy, or one that it is made of, is not for a data set's kind of task; "" where all are."""
        wanted = self.task(dataset).kind
        with _named(kind, ref):
            kinds = capabilities.kinds(self.instance(kind, ref))
        if kinds and wanted not in kinds:
            *most, last = kinds
            listed = f"{', '.join(most)} and {last}" if most else last
            return f"{ref.name} is for {listed}, and {dataset} is {wanted}"
        parts = self.nested(ref) if kind == "scheme" else ()
        return next(filter(None, (self.refusal(kind, part, dataset) for part in parts)), "")

    def one_task(self, fusion: Ref) -> str:
        """Why a fusion is only for members that share a task; "" where it serves several."""
        level = self.level(fusion)
        with _named("fusion", fusion):
            if capabilities.many_tasks(self.instance("fusion", fusion)):
                return ""
        what = {"output": "combines outputs of one task", "feature": "puts one head on all members' features"}
        return f"{fusion.name} {what.get(level, 'is for members of one task')}, and these have several"

    def follows(self, fusion: Ref) -> bool:
        """Whether a fusion can be a stage after another one."""
        with _named("fusion", fusion):
            return capabilities.follows(self.instance("fusion", fusion))

    def saw(self, fusion: Ref) -> str:
        """What data a fusion gets, in words."""
        with _named("fusion", fusion):
            return capabilities.saw(self.instance("fusion", fusion))

    def ordered(self, fusion: Ref) -> bool:
        """Whether what a fusion gives depends on the order of its members."""
        with _named("fusion", fusion):
            return "order" in capabilities.except_for(self.instance("fusion", fusion))

    def nested(self, scheme: Ref) -> list[Ref]:
        """The schemes that a scheme is made of."""
        with _named("scheme", scheme):
            return [Ref.read(spec) for spec in capabilities.nested(self.instance("scheme", scheme))]

    def takes_steps(self, scheme: Ref) -> bool:
        """Whether a scheme takes steps of the trainer, as far as it or all that it is made of say otherwise."""
        with _named("scheme", scheme):
            said = capabilities.takes_steps(self.instance("scheme", scheme))
        parts = self.nested(scheme)
        return any(map(self.takes_steps, parts)) if said is None and parts else said is not False

    def space(self, kind: PluginKind, ref: Ref) -> Space:
        """The ranges of its parameters that a scheme or fusion declares, less those that are given."""
        with _named(kind, ref):
            declared = capabilities.space(self.registry.target(kind, ref.name))
        return {name: given for name, given in declared.items() if name not in ref.kwargs}

    def trials(self, scheme: Ref, kind: PluginKind = "scheme") -> Sequence[Sequence[int]]:
        """For every trial of a search the earlier ones whose results it needs; none for other schemes.

        `kind` is that of what is searched for.
        """
        if (scheme, kind) not in self._trials:
            self._trials[scheme, kind] = self._find_trials(scheme, kind)
        return self._trials[scheme, kind]

    def _find_trials(self, scheme: Ref, kind: PluginKind) -> Sequence[Sequence[int]]:
        with _named("scheme", scheme):
            search = capabilities.searcher(self.instance("scheme", scheme))
        if search is None:
            return []
        inner = Ref.read(search.of)
        space = self.space(kind, inner)
        try:
            for params in search.extremes(space):
                self.registry.build(kind, Ref.of(inner.name, **{**inner.kwargs, **params}))
            return list(search.plan(space))
        except (TypeError, ValueError) as error:
            raise PluginError(f"the scheme {scheme.name!r}: {error}") from error

    def parts(self, kind: PluginKind, ref: Ref, inside: PluginKind | None = None) -> dict[str, str]:
        """The parts of a plugin that may change a result: class, parameters, source files and content, by name.

        `inside` is the kind of what a search is for, where that is no scheme.
        """
        if (kind, ref, inside) not in self._parts:
            self._parts[kind, ref, inside] = self._find_parts(kind, ref, inside or INSIDE.get(kind))
        return self._parts[kind, ref, inside]

    def _find_parts(self, kind: PluginKind, ref: Ref, inside: PluginKind | None) -> dict[str, str]:
        name, cls = f"{kind} {ref.name}", self.registry.target(kind, ref.name)
        parts = {name: cls.__qualname__}
        instance, specs = self.instance(kind, ref), self.parameters_of(kind, ref.name, Spec)
        search = capabilities.searcher(instance) if kind == "scheme" else None
        for key, value in self.registry.resolved(kind, ref).items():
            if search is not None and inside is not None and key not in specs:
                value = choices_by_content(self, inside, search, value)
            if not _holds_paths(getattr(instance, key, None)):
                parts[f"{name}: {key}"] = piece(by_content(self, inside, value) if key in specs else value)
            elif kind not in _CONTENT:
                read = each(file_content, value)
                parts[f"{name}: {key}"] = read if isinstance(read, str) and read != value else piece(read)
        parts |= {f"source {file}": text for file, text in source_digests(cls).items()}
        parts |= {f"version of {m}": version_of(m) for m in self.registry.find(kind, ref.name).entry.requires}
        for inner in self.nested(ref) if kind == "scheme" else ():
            parts |= {part: value for part, value in self.parts(inside or kind, inner).items() if part not in parts}
        if kind in _CONTENT:
            parts[f"{name}: content"] = piece(self.content(kind, ref))
        if kind == "backbone":
            budget: Budget = self._ask(kind, ref, "budget", Budget)
            parts[f"{name}: budget"] = piece([budget.epochs, budget.batch_size, budget.schedule])
        return parts

    def remarks(self, dataset: Ref) -> tuple[str, ...]:
        """A data set's remarks, as far as they are known without loading it."""
        return capabilities.remarks(self.instance("dataset", dataset))

    @property
    def contents(self) -> dict[tuple[PluginKind, Ref], str]:
        """The fingerprints that were asked for."""
        return {(kind, ref): answer for (kind, ref, what), answer in self._answers.items() if what == "fingerprint"}

    def content(self, kind: PluginKind, ref: Ref) -> str:
        """The fingerprint of what a data set or backbone reads."""
        return self._ask(kind, ref, "fingerprint", str)  # type: ignore[no-any-return]

    def _ask(self, kind: PluginKind, ref: Ref, what: str, expected: Any) -> Any:
        """The answer, remembered because it may have taken a look at 50,000 files."""
        if (kind, ref, what) not in self._answers:
            self._answers[kind, ref, what] = self._answer(kind, ref, what, expected)
        return self._answers[kind, ref, what]

    def _answer(self, kind: PluginKind, ref: Ref, what: str, expected: Any) -> Any:
        with _named(kind, ref):
            return capabilities.ask(self.instance(kind, ref), what, expected)


@contextmanager
def _named(kind: PluginKind, ref: Ref) -> Iterator[None]:
    """Add the suite's name of a plugin to errors about its declarations."""
    try:
        yield
    except DeclarationError as error:
        raise PluginError(f"the {kind} {ref.name!r} {error.said}") from error
