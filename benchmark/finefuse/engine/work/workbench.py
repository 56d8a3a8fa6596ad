"""What a job is done with: the splits, the pretrained network, trainers and randomness, all named by the job."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from finefuse.declare.facts import Facts
from finefuse.declare.keys import derive_seed
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.engine.measure.effort import Effort
from finefuse.engine.order import Order
from finefuse.engine.randomness import seeded
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.store.origin import job_of
from finefuse.engine.train.augment import Change, augmentation
from finefuse.engine.train.checkpoints import Curve
from finefuse.engine.train.joint import JointTask, joint_data
from finefuse.engine.train.lent import lent
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.engine.work.given import reader, text_head
from finefuse.engine.work.loading import PARTS, Loaded, loaded, registry_of
from finefuse.engine.work.opened import opened
from finefuse.engine.work.sharing import shared_stages
from finefuse.engine.work.untouched import Surroundings, Untouched
from finefuse.errors import NotApplicable
from finefuse.nets import ManyHeads, Net, recalibrate
from finefuse.types import (
    Backbone,
    Budget,
    Data,
    Fusing,
    Fusion,
    Member,
    Metric,
    PluginKind,
    Record,
    Ref,
    Scheme,
    Spec,
    Splits,
    Task,
    Trainer,
    Tuning,
)
from finefuse.types.data import Unlabelled
from finefuse.types.undeclared import undeclared


@dataclass(frozen=True)
class Workbench:
    """Everything a job needs, made on demand and the same for all jobs that name the same things."""

    order: Order
    effort: Effort = field(default_factory=Effort, compare=False, repr=False)
    """What the strategy does to learn, whoever's loop it is."""

    @cached_property
    def registry(self) -> Registry:
        """The plugins."""
        return registry_of(self.order.doors)

    @cached_property
    def store(self) -> Artifacts:
        """The artifacts."""
        return Artifacts(Path(self.order.store))

    @cached_property
    def backbone(self) -> Backbone:
        """The backbone's plugin."""
        plugin: Backbone = self.registry.build("backbone", self.order.job.backbone)
        return plugin

    @cached_property
    def splits(self) -> Splits:
        """The splits of the job's data set and seed."""
        job = self.order.job
        assert job.dataset is not None
        return self.loaded(job.dataset, job.seed).splits

    @cached_property
    def crossed(self) -> dict[Ref, Splits]:
        """The splits of every task of a pool across data sets; each task is an object of its own."""
        found = {ref: self.loaded(ref, self.order.job.seed).splits for ref in dict.fromkeys(self.order.job.tasks)}
        return {ref: replace(splits, task=copy.copy(splits.task)) for ref, splits in found.items()}

    def one(self, dataset: Ref) -> Workbench:
        """The bench for one of the tasks of a pool across data sets."""
        job = replace(self.order.job, dataset=dataset, tasks=(), fused=(), own=())
        return Workbench(replace(self.order, job=job))

    def loaded(self, dataset: Ref, seed: int, *used: str) -> Loaded:
        """A data set for a seed, if it still is what was planned; of its parts those that are used, or all."""
        order = self.order
        content = order.contents.get(("dataset", dataset), "")
        return loaded(order.doors, dataset, seed, order.device, order.store, content, used or PARTS)

    @cached_property
    def more_tests(self) -> dict[str, Data]:
        """The other test sets, by what the suite calls them."""
        job = self.order.job
        return {str(ref): self.loaded(ref, job.seed, "test").splits.test for ref in job.also_test}

    @cached_property
    def source(self) -> Splits | None:
        """The data the backbone is pretrained on, if any; one split for all seeds."""
        ref = self.backbone.source
        return self.loaded(ref, 0).splits if ref else None

    @property
    def told(self) -> Record:
        """What a row says of the data it rests on."""
        job = self.order.job
        own: list[Ref | None] = [*dict.fromkeys(job.tasks)]
        own = own or [self.backbone.source if job.kind == "pretrain" else job.dataset]
        found = [self.loaded(ref, 0 if job.kind == "pretrain" else job.seed) for ref in own if ref]
        repeated = sum(one.repeated for one in found)
        found += [self.loaded(ref, job.seed, "test") for ref in job.also_test]
        return {"repeated": repeated, "remarks": [said for one in found for said in one.remarks]}

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The job's metrics, by what the suite calls them."""
        return {str(ref): self.registry.build("metric", ref) for ref in self.order.job.metrics}

    @cached_property
    def surroundings(self) -> Surroundings:
        """Torch and the code that scores and times, as they are to be; asked for before any plugin is."""
        return opened(self.order.doors)

    def untouched(self, **given: Splits | None) -> Untouched:
        """What can tell later whether a plugin has changed what it was given, or its surroundings."""
        return Untouched(self.surroundings, **given)

    def strategy(self, kind: PluginKind) -> Any:
        """The job's scheme or fusion; of one that was searched with the parameters that were found."""
        job = self.order.job
        assert job.strategy is not None
        made = job.timed or job.artifact
        found = self.store.meta(made)["chosen"] if job.search and self.store.has(made) else {}
        return self.build(kind, job.strategy.having(found) if found else job.strategy)

    def build(self, kind: PluginKind, ref: Ref) -> Any:
        """A scheme or fusion; what it and its parts require is imported now, before any clock runs."""
        self.require(kind, ref)
        for inner in Facts(self.registry).nested(ref) if kind == "scheme" else ():
            self.build("scheme", inner)
        return self.registry.build(kind, ref)

    def require(self, kind: PluginKind, ref: Ref) -> None:
        """Import what a plugin requires."""
        for module in self.registry.find(kind, ref.name).entry.requires:
            import_module(module)

    def scheme_of(self, spec: Spec) -> Scheme:
        """A scheme that another one is made of."""
        scheme: Scheme = self.build("scheme", Ref.read(spec))
        return scheme

    def seed(self, purpose: str, **axes: object) -> int:
        """A seed that depends on the suite's seed, the data set's name and the purpose, not on who else takes part."""
        dataset = self.order.job.dataset
        return derive_seed(self.order.job.seed, dataset=dataset.name if dataset else "", purpose=purpose, **axes)

    @property
    def run_axes(self) -> dict[str, int]:
        """The axes that tell one tuning or fusing from its like of the same seed: copy, and round after the first."""
        job = self.order.job
        return {"member": job.member} | ({"round": job.round} if job.round else {})

    def rng(self, purpose: str, **axes: object) -> torch.Generator:
        """A generator of that seed, on the processor."""
        return torch.Generator().manual_seed(self.seed(purpose, **axes))

    def place(self, net: nn.Module) -> None:
        """Move to the device, in the suite's memory format."""
        net.to(self.order.device)
        if self.order.settings.channels_last:
            net.to(memory_format=torch.channels_last)

    def fresh(self, task: Task) -> Net:
        """The backbone with random weights."""
        with seeded(derive_seed(self.order.job.seed if self.source is None else 0, purpose="backbone")):
            return self.backbone.build(task)

    @cached_property
    def source_task(self) -> Task:
        """What the backbone was pretrained for; the job's own task where it starts from random weights."""
        if self.source is not None:
            return self.source.task
        job, outputs = self.order.job, capabilities.head_outputs(self.backbone)
        task = (self.loaded(job.made_for, job.seed).splits if job.made_for else self.splits).task
        return task.resized(outputs) if outputs else task

    @property
    def provided(self) -> set[str]:
        """What of its pretraining the backbone comes with."""
        if self.source is not None:
            return {"source", "source head"}
        return {"source head"} if capabilities.head_outputs(self.backbone) else set()

    def pretrained(self) -> Net:
        """The backbone as it was pretrained, with its source head."""
        task, target = self.source_task, self.splits.task
        alike = task.input_shape == target.input_shape or capabilities.adapts(self.backbone)
        if task.modality != target.modality or not alike:
            raise NotApplicable(
                f"{self.order.job.backbone} was pretrained on {task.modality} inputs of shape {task.input_shape}, "
                f"{self.order.job.dataset} has {target.modality} inputs of shape {target.input_shape}"
            )
        if why := self._unsuited():
            raise NotApplicable(why)
        net = self.fresh(task)
        net.load_state_dict(self.store.weights(self.order.job.base))
        self.place(net)
        return net.eval()

    def _unsuited(self) -> str:
        """What plans ask too; but then the files of a hub may not have been on this machine yet."""
        job = self.order.job
        return Facts(self.registry).unsuited(job.backbone, job.dataset) if job.dataset else ""

    def start(self) -> Net:
        """What all members of all schemes start from: the pretrained network with one fresh head, or the fused one.

        Across backbones it is what the first member started from.
        """
        if self.order.job.start:
            return self.for_task(self.tuned(self.order.job.start))
        if not self.order.job.base:
            return self.maker(self.order.job.fused[0][1]).start()
        net = self.pretrained()
        self.give_head(net)
        return net

    def for_task(self, net: Net) -> Net:
        """The network for the job's data set, of one with many heads; with a fresh one if none is its own."""
        dataset = self.order.job.dataset
        if not isinstance(net, ManyHeads) or dataset is None:
            return net
        name = head_name(dataset)
        if name in net.names:
            return net.network(name)
        body = Net(list(net.stages), net.head, net.recipe).eval()
        with seeded(self.seed("head", backbone=self.order.job.backbone.name)):
            body.replace_head(self.splits.task.outputs)
        if net.policy == "per-task":
            recalibrate(body, self.splits.train.x)
        return body

    def give_head(self, net: Net) -> None:
        """Replace the source head, unless the backbone keeps one that has the right size."""
        outputs = self.splits.task.outputs
        if capabilities.keeps_head(self.backbone) and net.head.out_features == outputs:
            return
        with seeded(self.seed("head", backbone=self.order.job.backbone.name)):
            net.replace_head(outputs)

    def tuned(self, artifact: str) -> Net:
        """A tuned or fused network from the store."""
        maker = self.maker(artifact)
        while not maker.order.job.base and maker.order.job.fused:  # across backbones it is one of the first member's
            maker = maker.maker(maker.order.job.fused[0][1])
        net, meta, tasks = maker.fresh(maker.source_task), self.store.meta(artifact), maker.order.job.tasks
        if not tasks:
            maker.give_head(net)
        maker.place(net)
        if scheme := meta.get("prepared_by"):
            maker.prepare(self.registry.build("scheme", Ref.of(scheme["use"], **scheme["params"])), net)
        if tasks:
            sizes = {head_name(ref): splits.task.outputs for ref, splits in maker.crossed.items()}
            heads = {name: nn.Linear(net.head.in_features, outputs) for name, outputs in sizes.items()}
            net = ManyHeads(net, heads, meta["statistics"])
            maker.place(net)
        net.load_state_dict(self.store.weights(artifact))
        return net.eval()

    def maker(self, artifact: str) -> Workbench:
        """The bench of the job that made an artifact."""
        return Workbench(replace(self.order, job=job_of(self.store.origin(artifact)["job"])))

    def prepare(self, scheme: Scheme, net: Net) -> bool:
        """Let a scheme add its modules to the network; whether it has any to add."""
        adding = capabilities.prepares(scheme)
        if adding is None:
            return False
        with seeded(self.seed("prepare")):
            adding.prepare(net)
        self.place(net)
        return True

    def tuning(self, scheme: Ref) -> tuple[Tuning, SuiteTrainer]:
        """All that a scheme gets to see, and the trainer that is behind it."""
        splits, job = self.splits, self.order.job
        needs = set(Facts(self.registry).needs("scheme", scheme))
        if lacking := sorted(needs - self.provided):
            raise NotApplicable(f"{job.backbone} comes without a {' and without a '.join(lacking)}")
        model, settings = self.start(), self.order.settings
        seed, change = self.seed("order", **self.run_axes), augmentation(settings.augment, splits.task)
        trainer = self.trainer(splits.task, splits.train, settings.budget, seed, change)
        rng, pretrained = self.rng("scheme", **self.run_axes), self.pretrained()
        trainer.generators = (rng,)
        trainer.shared = shared_stages(self.order, self.registry, pretrained, scheme=scheme)
        if settings.checkpoints:
            curve = Curve(model, splits, trainer.scored, keep=settings.selection == "best-val")
            trainer.watch_with(curve, settings.checkpoints)
        on = Tuning(
            task=splits.task,
            model=model,
            pretrained=pretrained,
            trainer=lent(trainer),
            train=splits.train,
            val=splits.val,
            rng=rng,
            scheme=self.scheme_of,
            source=self.source.train if self.source and "source" in needs else None,
            source_task=self.source.task if self.source and "source" in needs else None,
            read=reader(self.backbone, splits.task, self.place),
            text_head=text_head(self.backbone),
            class_names=self.loaded(job.dataset, job.seed).classes if job.dataset else (),
        )
        return on, trainer

    def fusing(self) -> Fusing:
        """All that a fusion gets to see: the members, and what it declares that it needs."""
        splits, fusion = self.splits, self.strategy("fusion")
        needs = capabilities.fusion_needs(fusion)
        makers: dict[str, Callable[[], Any]] = {"base": self.start, "trainer": self.lent_trainer}
        made = {name: make() for name, make in makers.items() if name in needs}
        members = [self.member(fusion, name, artifact, splits) for name, artifact in self.order.job.fused]
        rng, given = self.rng("fusion", **self.run_axes), _needed(fusion, splits)
        return Fusing(splits.task, members, rng, **given, **made)

    def member(self, fusion: Fusion, name: str, artifact: str, splits: Splits) -> Member:
        """A member of a pool, with what the fusion declares that it needs of its data."""
        given = _needed(fusion, splits)
        outputs, score = undeclared("val_outputs", "val", of="member"), float("nan")
        if "val" in given:
            outputs = self.store.outputs(artifact)["val"].to(self.order.device)
            if capabilities.uses_labels(fusion):
                score = splits.task.quality(outputs, splits.val)
        return Member(name, score, outputs, lambda: self.tuned(artifact), splits.task, **given)

    def lent_trainer(self) -> Trainer:
        """The trainer as the fusion gets it."""
        return lent(self.fusion_trainer, labels=capabilities.uses_labels(self.strategy("fusion")))

    @cached_property
    def fusion_trainer(self) -> SuiteTrainer:
        """A trainer on the training data with the suite's whole budget, for fusions that train."""
        settings, job = self.order.settings, self.order.job
        task: Any
        if job.tasks:
            parts = list(self.crossed.values())
            task = JointTask(parts[0].task.modality, parts[0].task.input_shape)
            data = joint_data(parts)
        else:
            task, data = self.splits.task, self.splits.train
        change = augmentation(settings.augment, task)
        made = self.trainer(task, data, settings.budget, self.seed("fusion order"), change)
        made.shared = shared_stages(self.order, self.registry) if job.fused and job.level != "output" else None
        return made

    def trainer(self, task: Task, data: Data, budget: Budget, seed: int, change: Change | None = None) -> SuiteTrainer:
        """A trainer with the suite's precision and memory format."""
        settings = self.order.settings
        return SuiteTrainer(
            task,
            data,
            budget,
            seed=seed,
            precision=settings.precision,
            channels_last=settings.channels_last,
            augment=change,
            compile_mode=settings.compile,
            accumulate=settings.accumulate,
            effort=self.effort,
        )


def _needed(fusion: Fusion, splits: Splits) -> dict[str, Any]:
    """What a fusion declares that it needs of a task's data, without labels where it says that it uses none."""
    given, labels = {"val": splits.val, "train": splits.train}, capabilities.uses_labels(fusion)
    needs = capabilities.fusion_needs(fusion)
    parts: dict[str, Any] = {n: d if labels else Unlabelled(d) for n, d in given.items() if n in needs}
    return parts | ({"test_inputs": splits.test.x} if "test inputs" in needs else {})


def head_name(dataset: Ref) -> str:
    """The name of a data set's head: what it is, whatever a suite calls it."""
    return str(replace(dataset, label=""))
