"""The jobs of a suite: one pair of data set and backbone after another, then the pools across them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

from finefuse.declare.curves import Chosen, curve
from finefuse.declare.facts import Facts, piece
from finefuse.declare.keys import digest, environment
from finefuse.declare.lines import COUNTED, LineParts, Members, Parts, Variant, strategy_parts
from finefuse.declare.pools import Pool
from finefuse.declare.source_test import source_data, source_part
from finefuse.declare.strategy import Strategy
from finefuse.declare.suite import Suite
from finefuse.declare.trials import trials_of
from finefuse.types import Job, JobKind, PluginKind, Ref
from finefuse.types.aggregate import Aggregate


class Planner:
    """Everything but workers, labels, pool and suite names, limits and folders may change a result."""

    def __init__(self, suite: Suite, facts: Facts, device: str, copies: Mapping[str, int]) -> None:
        self.suite, self.facts, self.copies = suite, facts, copies
        settings = asdict(suite.settings)
        del settings["portable"]  # which the instruction sets tell
        budget = settings.pop("budget") | {name: settings.pop(name) for name in ("selection", "checkpoints", "augment")}
        self.surroundings = environment(device, suite.settings) | {
            name: piece(value) for name, value in settings.items()
        }
        self.budget = {f"budget: {name}": piece(value) for name, value in budget.items() if value is not None}
        self.firsts = firsts(suite)

    def jobs(self) -> Iterator[Job]:
        """All jobs, each after those it needs; measurements of latency come last.

        Copies and later rounds aren't timed: they are the same network with other weights.
        """
        pretraining: dict[str, Job] = {}
        pairs: dict[Ref, list[Pair]] = defaultdict(list)
        for dataset, backbone in product(self.suite.datasets, self.suite.backbones):
            job = self.pretrain(backbone, dataset)
            base = pretraining.setdefault(job.artifact, job)
            pairs[dataset].append(Pair(self, dataset, backbone, base))
        yield from pretraining.values()
        later: list[Job] = []
        groups = [group for dataset, own in pairs.items() for group in (*own, *self.mixtures(dataset, own))]
        for group, seed in product((*groups, *self.crossings(pairs)), self.suite.seeds):
            made = list(group.jobs(seed))
            yield from made
            if self.suite.latency and seed == self.suite.seeds[0]:
                own = [job for job in made if job.dataset == group.dataset and job.place.has_line]
                later += [group.time(job) for job in own if not job.round]
        yield from later

    def pretrain(self, backbone: Ref, dataset: Ref) -> Job:
        """One for all seeds and data sets, so that all that is tuned has a common ancestor that can be averaged.

        A backbone without source data gets the weights it comes with, or random ones, made once for each data set,
        because its head may have to fit the task, and once for those that a pool is across; the job's data set is then
        that one, or the first of these.
        """
        own = self.facts.source(backbone)
        source = own or self.firsts[dataset]
        skip = "" if own else self.facts.unsuited(backbone, source)
        parts = self.surroundings | self.facts.parts("backbone", backbone) | self.facts.parts("dataset", source)
        return LineParts(parts, COUNTED).job({}, kind="pretrain", backbone=backbone, dataset=source, skip=skip)

    def mixtures(self, dataset: Ref, pairs: Sequence[Pair]) -> Iterator[Mixture]:
        """The pools across backbones, their members in the order in which the pool names these."""
        by_backbone = {pair.backbone: pair for pair in pairs}
        for pool in self.suite.pools:
            own = [by_backbone[backbone] for backbone in pool.backbones]
            if any(pair.schemes.keys() & pool.of for pair in own):
                yield Mixture(self, dataset, pool, own)

    def crossings(self, pairs: Mapping[Ref, Sequence[Pair]]) -> Iterator[Crossing]:
        """The pools across data sets, one for each backbone."""
        for pool, (i, backbone) in product(self.suite.pools, enumerate(self.suite.backbones)):
            own, held = ([pairs[ref][i] for ref in refs] for refs in (pool.datasets, pool.held_out))
            if any(pair.schemes.keys() & pool.of for pair in own):
                yield Crossing(self, backbone, pool, own, held)


class Group:
    """What is compared with each other: the jobs of one data set and one backbone, or a pool across several."""

    def __init__(self, planner: Planner, dataset: Ref, backbone: Ref, base: str, parts: Parts) -> None:
        self.suite, self.facts, self.surroundings = planner.suite, planner.facts, planner.surroundings
        self.dataset, self.backbone = dataset, backbone
        self.same: dict[str, Any] = {"dataset": dataset, "backbone": backbone, "base": base}
        self.source = source_data(self.facts, self.suite.source_test, backbone) if base else None
        if base and not self.facts.source(backbone) and planner.firsts[self.tasks[0]] != dataset:
            self.same["made_for"] = planner.firsts[self.tasks[0]]
        self.unsuited = next(filter(None, (self.facts.unsuited(backbone, d) for d in self.tasks)), "") if base else ""
        self.parts = parts | self.data_parts() | planner.budget
        more = {ref: digest(self.facts.parts("dataset", ref)) for ref in self.also_test}
        self.parts |= {f"also tested on {ref}": content for ref, content in more.items()}
        kinds = {self.facts.task(dataset).kind for dataset in self.tasks}
        self.metrics = tuple(ref for ref in self.suite.metrics if kinds.intersection(self.facts.metric_kinds(ref)))
        self.scoring = COUNTED | {"metrics": ", ".join(map(str, self.metrics))}
        for ref in self.metrics:
            scored = self.facts.parts("metric", ref)
            self.scoring |= {name.replace(f"metric {ref.name}", f"metric {ref}"): scored[name] for name in scored}

    @cached_property
    def fusions(self) -> list[tuple[Strategy, LineParts]]:
        """The lines of the fusions."""
        return [(line, self.line("fusion", line)) for line in self.suite.fusions]

    @property
    def tasks(self) -> tuple[Ref, ...]:
        """The data sets that members are tuned for."""
        return (self.dataset,)

    @property
    def also_test(self) -> tuple[Ref, ...]:
        """The further test sets that its models are scored on."""
        return self.suite.also_test

    def data_parts(self) -> Parts:
        """The parts of its data."""
        return self.facts.parts("dataset", self.dataset)

    def jobs(self, seed: int) -> Iterator[Job]:
        """All jobs for one seed but the measurements of latency."""
        raise NotImplementedError

    def refusal(self, kind: PluginKind, ref: Ref) -> str:
        """Why a strategy is not for this group; "" where it is."""
        return next(filter(None, (self.facts.refusal(kind, ref, dataset) for dataset in self.tasks)), "")

    def line(self, kind: PluginKind, of: Strategy) -> LineParts:
        """The line of a scheme or fusion."""
        level = self.facts.level(of.ref) if kind == "fusion" else ""
        fields: dict[str, Any] = {
            "strategy": of.ref,
            "search": of.search,
            "metrics": self.metrics,
            "also_test": self.also_test,
        }
        fields |= {"followed_by": of.followed_by, "saw": tuple(map(self.facts.saw, of.followed_by))}
        fields["source"], scoring = self.source, self.scoring | source_part(self.facts, self.source)
        all_of = (of.ref, *of.followed_by)
        needs = tuple(dict.fromkeys(need for ref in all_of for need in self.facts.needs(kind, ref)))
        skip = next(filter(None, (self.unsuited, *(self.refusal(kind, ref) for ref in all_of))), "")
        parts = self.parts | strategy_parts(self.facts, kind, of)
        return LineParts(parts, scoring, level=level, needs=needs, skip=skip, **fields, **self.same)

    def fuse(self, pool: Pool, members: Members, seed: int, ordered: bool | None = None) -> Iterator[Job]:
        """A pool's bounds, and every fusion of it, once; only those that depend on the order of members, or don't."""
        own = {"seed": piece(seed), "members": piece([artifact for _, artifact in members])}
        fields = {"pool": pool.name, "seed": seed, "fused": members}
        bounds = LineParts(self.surroundings, self.scoring, metrics=self.metrics, skip=self.unsuited, **self.same)
        if not ordered:
            yield bounds.job({"members": own["members"]}, kind="pool", **fields)
        for fusion, line in self.fusions:
            if ordered is not None and any(map(self.facts.ordered, (fusion.ref, *fusion.followed_by))) != ordered:
                continue
            trials = trials_of(self.facts, fusion, line, self.line, own, fields | {"label": fusion.label})
            chosen = {f"choice {i}": job.artifact for i, job in enumerate(trials)}
            yield from trials
            more = {"trials": tuple(chosen.values()), "label": fusion.label}
            yield line.job(own | chosen, kind="fuse", **more, **fields)

    def tunings(self, pool: Pool) -> Iterator[Tuning]:
        """Every member of a pool."""
        raise NotImplementedError

    def members(self, pool: Pool, seed: int) -> Members:
        """Every member's name and artifact, as tuned before any fusion."""
        return tuple((one.name, one.pair.tuned[seed][one.label][one.copy]) for one in self.tunings(pool))

    def fuse_all(self, pool: Pool, seed: int) -> Iterator[Job]:
        """Every fusion of a pool, with all its rounds."""
        rounds = {fusion.label: fusion for fusion in self.suite.fusions if fusion.rounds > 1}
        for job in self.fuse(pool, self.members(pool, seed), seed):
            yield job
            if job.label in rounds:
                yield from self.again(pool, rounds[job.label], job)

    def curve(self, pool: Pool, seed: int) -> Iterator[Job]:
        """Every fusion of parts of a pool, without further rounds."""
        members = self.members(pool, seed)

        def fuses(chosen: Chosen, ordered: bool) -> Iterator[Job]:
            return self.fuse(pool, tuple(members[i] for i in chosen), seed, ordered)

        yield from curve([name for name, _ in members], pool.sizes, pool.subsets, fuses)

    def again(self, pool: Pool, fusion: Strategy, before: Job) -> Iterator[Job]:
        """The rounds after the first: every member is tuned again from the fused network, and all are fused again."""
        line = next(line for made, line in self.fusions if made.label == fusion.label)
        own = {"own members": piece([artifact for _, artifact in before.own])} if before.own else {}
        for number in range(1, fusion.rounds):
            members: list[tuple[str, str]] = []
            run = Variant(before.seed, 0, number, pool.name, before.artifact, fusion.label)
            for one in self.tunings(pool):
                jobs = one.pair.tune(one.label, replace(run, member=one.copy))
                yield from jobs
                members.append((one.name, jobs[-1].artifact))
            inputs = {"members": piece([artifact for _, artifact in members])} | own
            more = {"fused": tuple(members), "own": before.own, "label": fusion.label}
            before = line.job(run.parts | inputs, kind="fuse", **more, **run.fields)
            yield before

    def time(self, job: Job) -> Job:
        """Measure what a job made. A fusion is made again from its members, because only weights are stored."""
        return LineParts(self.surroundings, {}, **self.same).job(
            {"latency": piece(self.suite.latency), "timed model": job.artifact},
            kind="time",
            strategy=job.strategy,
            label=job.label,
            pool=job.pool,
            seed=job.seed,
            search=job.search,
            followed_by=job.followed_by,
            fused=job.fused,
            own=job.own,
            timed=job.artifact,
            skip=job.skip,
        )


class Pair(Group):
    """The jobs of one data set and backbone."""

    def __init__(self, planner: Planner, dataset: Ref, backbone: Ref, pretrain: Job) -> None:
        made = {name: value for name, value in pretrain.parts if name not in COUNTED}
        self.made = made | {"pretrained backbone": pretrain.artifact}
        super().__init__(planner, dataset, backbone, pretrain.artifact, self.made)
        self.copies = planner.copies
        own = [line for line in self.suite.schemes if line.is_for(dataset, backbone)]
        self.schemes = {line.label: (line, self.line("scheme", line)) for line in own}
        self.tuned: dict[int, dict[str, list[str]]] = {}
        """Artifacts by seed, label and copy."""

    def jobs(self, seed: int) -> Iterator[Job]:
        """All tuning and fusing for one seed."""
        tuned = self.tuned.setdefault(seed, defaultdict(list))
        for label in self.schemes:
            for member in range(self.copies[label]):
                *trials, job = self.tune(label, Variant(seed, member))
                yield from (*trials, job)
                tuned[label].append(job.artifact)
        for pool in self.suite.pools:
            if not pool.backbones and not pool.datasets and self.schemes.keys() & pool.of:
                yield from self.fuse_all(pool, seed)
                yield from self.curve(pool, seed)

    def tunings(self, pool: Pool) -> Iterator[Tuning]:
        """Every member of a pool."""
        return (Tuning(name, self, label, copy) for name, label, copy in self.named(pool))

    def named(self, pool: Pool) -> Iterator[tuple[str, str, int]]:
        """Name, label and copy of every member of a pool that is for this data set."""
        for label, copy in product(pool.of, range(pool.copies)):
            if label in self.schemes:
                yield f"{label}#{copy}" if pool.copies > 1 else label, label, copy

    def tune(self, label: str, run: Variant) -> list[Job]:
        """The job that makes one tuned network, last; before it, for a search, the trials it chooses from."""
        scheme, line = self.schemes[label]
        trials: list[Job] = []

        def job(kind: JobKind, inputs: Parts, **fields: Any) -> Job:
            number = {"trial": piece(fields["trial"])} if fields else {}
            return line.job(
                run.parts | inputs | number,
                kind=kind,
                label=f"{label} after {run.fusion}" if run.fusion else label,
                trials=tuple(inputs.values()),
                **run.fields,
                **fields,
            )

        for number, known in enumerate(self.facts.trials(scheme.ref)):
            trials.append(job("trial", {f"trial {i}": trials[i].artifact for i in known}, trial=number))
        return [*trials, job("tune", {f"trial {made.trial}": made.artifact for made in trials})]


class Tuning(NamedTuple):
    """A member of a pool: its name there, and the pair, scheme and copy that it is tuned by."""

    name: str
    pair: Pair
    label: str
    copy: int


class Crossing(Group):
    """The jobs of one pool across data sets, with one backbone."""

    def __init__(
        self, planner: Planner, backbone: Ref, pool: Pool, pairs: Sequence[Pair], held_out: Sequence[Pair]
    ) -> None:
        self.planner, self.pool, self.pairs, self.held_out = planner, pool, pairs, held_out
        self.made_parts: dict[Chosen, Crossing] = {}
        name = Ref.of(" + ".join(str(dataset) for dataset in pool.datasets))
        super().__init__(planner, name, backbone, pairs[0].same["base"], pairs[0].made)
        self.parts["statistics"] = pool.statistics
        self.same["statistics"] = pool.statistics
        self.same["tasks"] = tuple(one.pair.dataset for one in self.tunings(pool))
        if way := self.suite.aggregate:
            self.same["aggregate"], self.scoring["aggregate"] = (way.by, way.zero), str(way)
            self.parts |= {"zero": way.zero} if way.zero != Aggregate.zero else {}

    @property
    def tasks(self) -> tuple[Ref, ...]:
        """The data sets that members are tuned for."""
        return self.pool.datasets

    @property
    def also_test(self) -> tuple[Ref, ...]:
        """None: what a further test set asks is one task."""
        return ()

    def data_parts(self) -> Parts:
        """The parts of all its data."""
        return {f"task {ref}": digest(self.facts.parts("dataset", ref)) for ref in self.tasks}

    def refusal(self, kind: PluginKind, ref: Ref) -> str:
        """Why a fusion is not for members of several tasks, or of these."""
        return self.facts.one_task(ref) or super().refusal(kind, ref)

    def tunings(self, pool: Pool) -> Iterator[Tuning]:
        """Every member, data set after data set."""
        for pair in self.pairs:
            for name, label, copy in pair.named(pool):
                yield Tuning(f"{name} on {pair.dataset}", pair, label, copy)

    def jobs(self, seed: int) -> Iterator[Job]:
        """All fusing for one seed, and tuning for what is held out from each network that was merged last."""
        last: dict[str, Job] = {}
        for job in self.fuse_all(self.pool, seed):
            yield job
            if job.kind == "fuse" and job.level == "weight":
                last[job.label] = job
        for pair, job in product(self.held_out, last.values()):
            run = Variant(seed, 0, 0, self.pool.name, job.artifact, job.label)
            yield from pair.tune(self.pool.probe, run)
        yield from self.curve(self.pool, seed)

    def fuse(self, pool: Pool, members: Members, seed: int, ordered: bool | None = None) -> Iterator[Job]:
        """The same, with the members that scores are divided by."""
        return (replace(job, own=members) for job in super().fuse(pool, members, seed, ordered))

    def curve(self, pool: Pool, seed: int) -> Iterator[Job]:
        """Every fusion of the members of some of the tasks, which are a pool of their own."""

        def fuses(chosen: Chosen, ordered: bool) -> Iterator[Job]:
            part = self.part(chosen)
            return part.fuse(part.pool, part.members(part.pool, seed), seed, ordered)

        yield from curve(list(map(str, pool.datasets)), pool.sizes, pool.subsets, fuses)

    def part(self, chosen: Chosen) -> Crossing:
        """The pool of some of its data sets."""
        if chosen not in self.made_parts:
            own = replace(self.pool, datasets=tuple(self.pool.datasets[i] for i in chosen))
            self.made_parts[chosen] = Crossing(self.planner, self.backbone, own, [self.pairs[i] for i in chosen], ())
        return self.made_parts[chosen]


class Mixture(Group):
    """The jobs of one pool across backbones. Its members have no common start."""

    def __init__(self, planner: Planner, dataset: Ref, pool: Pool, pairs: Sequence[Pair]) -> None:
        name = Ref.of(" + ".join(str(pair.backbone) for pair in pairs))
        super().__init__(planner, dataset, name, "", planner.surroundings)
        self.pool, self.pairs = pool, pairs

    def tunings(self, pool: Pool) -> Iterator[Tuning]:
        """Every member, backbone after backbone."""
        for pair in self.pairs:
            for name, label, copy in pair.named(pool):
                yield Tuning(f"{name} on {pair.backbone}", pair, label, copy)

    def jobs(self, seed: int) -> Iterator[Job]:
        """All fusing for one seed. Nothing goes in rounds: what is fused across backbones starts no tuning."""
        yield from self.fuse(self.pool, self.members(self.pool, seed), seed)
        yield from self.curve(self.pool, seed)


def firsts(suite: Suite) -> dict[Ref, Ref]:
    """For every data set the first of those that pools are across together with it; itself where there is none."""
    found = {dataset: dataset for dataset in suite.datasets}
    for pool in suite.pools:
        together = {found[dataset] for dataset in (*pool.datasets, *pool.held_out)}
        first = next((dataset for dataset in suite.datasets if dataset in together), None)
        found |= {dataset: first for dataset, before in found.items() if first and before in together}
    return found
