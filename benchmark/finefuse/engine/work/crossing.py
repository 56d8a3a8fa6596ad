"""Jobs of pools across data sets: members of several tasks are fused, and what comes of it is scored on every task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from finefuse.batchnorm import running
from finefuse.declare.facts import Facts
from finefuse.declare.keys import COUNTING
from finefuse.discovery import capabilities
from finefuse.engine.measure.cost import Stopwatch, machine_id, parameter_count, size_of
from finefuse.engine.measure.crossing import crossing_bounds, crossing_fields
from finefuse.engine.measure.flops import flops_per_example
from finefuse.engine.measure.latency import latency_fields
from finefuse.engine.measure.predicted import answers
from finefuse.engine.randomness import seeded
from finefuse.engine.store.origin import origin_of
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.engine.work.chosen import beside, choose_fused
from finefuse.engine.work.forgetting import source_fields
from finefuse.engine.work.given import refuse_changed_files
from finefuse.engine.work.made import bill_of, billed, choices_of, cost_of, to_store
from finefuse.engine.work.separate import refuse_joint
from finefuse.engine.work.stages import after_all, require_budgets_kept, stages_of, trainers
from finefuse.engine.work.untouched import Untouched
from finefuse.engine.work.workbench import Workbench, head_name
from finefuse.errors import NotApplicable, PluginError
from finefuse.manyheads import ByTask, ManyHeads, by_task, one_per_task
from finefuse.nets import CombineOutputs, Net
from finefuse.predictions import Answers, packed
from finefuse.rows import told
from finefuse.types import Fusing, Record, Ref, Splits
from finefuse.types.aggregate import Aggregate, counts
from finefuse.types.undeclared import Undeclared

Model = ManyHeads | ByTask


def fusing(bench: Workbench) -> Fusing:
    """All that a fusion of members of several tasks gets to see."""
    job, fusion = bench.order.job, bench.strategy("fusion")
    needs = capabilities.fusion_needs(fusion)
    members = [bench.member(fusion, *one, bench.crossed[ref]) for one, ref in zip(job.fused, job.tasks, strict=True)]
    makers: dict[str, Callable[[], Any]] = {
        "base": partial(base, bench),
        "trainer": bench.lent_trainer,
    }
    made = {name: make() for name, make in makers.items() if name in needs}
    lacking = {name: _members_own(name) for name in ("task", "val", "train", "test_inputs")}
    rng, said = bench.rng("fusion", **bench.run_axes), {"statistics": job.statistics, "zero": _aggregate(bench).zero}
    return Fusing(members=members, rng=rng, **said, **lacking, **made)  # type: ignore[arg-type]


def _aggregate(bench: Workbench) -> Aggregate:
    return Aggregate(*bench.order.job.aggregate)


def _members_own(name: str) -> Any:
    sentence = f"the fusion reads `of.{name}`, and the members have several tasks: each has its own `member.{name}`"
    return Undeclared(sentence, NotApplicable)


def base(bench: Workbench) -> ManyHeads:
    """What all members started from, with the heads that they started from."""
    job = bench.order.job
    if job.start:
        net = bench.tuned(job.start)
        assert isinstance(net, ManyHeads)
        return ManyHeads(net, {n: net.heads[head_name(ref)] for (n, _), ref in zip(job.fused, job.tasks, strict=True)})
    starts = {ref: bench.one(ref).start() for ref in bench.crossed}
    first = next(iter(starts.values()))
    return ManyHeads(first, {n: starts[ref].head for (n, _), ref in zip(job.fused, job.tasks, strict=True)}).eval()


def remade(bench: Workbench) -> Model:
    """What the job's fusion makes of its members, by task, in evaluation mode."""
    of = fusing(bench)
    with seeded(bench.seed("strategy", **bench.run_axes)):
        fused = after_all(bench.strategy("fusion").fuse(of), stages_of(bench, fusing))
        model = _settled(bench, fused, of).eval()
    for module in list(model.modules()):
        if isinstance(module, CombineOutputs):
            module.materialise()
    return model.eval()


def _settled(bench: Workbench, fused: object, of: Fusing) -> Model:
    if not isinstance(fused, nn.Module):
        raise PluginError(f"a fusion gives a module, and this one gave {told(fused)}")
    names = map(head_name, bench.crossed)
    return one_per_task(fused, dict(zip(names, by_task(of.members), strict=True)))


def network(model: Model, ref: Ref) -> nn.Module:
    """What is deployed for one task."""
    name = head_name(ref)
    return model.network(name) if isinstance(model, ManyHeads) else model.networks[name]


def fuse(bench: Workbench, bill: Record | None = None, extra: Record | None = None) -> Record:
    """Fuse tuned members of several tasks, or choose from what other jobs fused.

    `bill` is as in `billed`, and `extra` is stored with what was made.
    """
    job, fusion = bench.order.job, bench.strategy("fusion")
    if job.trials and not bench.store.has(job.artifact):
        _refuse_unmeasured(bench)
        choose_fused(bench)
    if not bench.store.has(job.artifact):
        bench.fusion_trainer  # noqa: B018 - refuses tasks whose data can't be put together
        of = fusing(bench)
        stages = stages_of(bench, fusing)
        untouched, all_trainers = _untouched(bench), trainers(bench, stages)
        with billed(bench, bill, all_trainers) as watch:
            fused = after_all(fusion.fuse(of), stages)
        untouched.check()
        require_budgets_kept(bench, of, stages)
        refuse_changed_files(Facts(bench.registry), job)
        more = choices_of(of) | (extra or {})
        made = _settled(bench, fused, of)
        _save(bench, made, watch, more, all_trainers, alone=capabilities.alone(fusion))
    meta = bench.store.meta(job.artifact)
    if meta.pop("counting", None) != COUNTING or "bytes" not in meta:
        model = deployed_for_tasks(bench)
        meta |= {"bytes": size_of(model), "flops": _flops(bench, model)}
    scores = partial(_scores, bench)
    told = _predicted(bench) | source_fields(bench) | bench.told
    return {**meta, **scores(job.artifact), **told, **beside(bench, scores)}


def _untouched(bench: Workbench) -> Untouched:
    """What can tell later whether a fusion has changed the splits of a task, or its surroundings."""
    return bench.untouched(**{f"task {i}": splits for i, splits in enumerate(bench.crossed.values())})


def _save(
    bench: Workbench, model: Model, watch: Stopwatch, extra: Record, trainers: Sequence[SuiteTrainer], *, alone: bool
) -> None:
    """Compute the outputs for every task, and store them with what was made and what it cost."""
    job, trainer = bench.order.job, bench.fusion_trainer
    outputs = {}
    for i, (ref, splits) in enumerate(bench.crossed.items()):
        net = network(model, ref)
        for part, data in (("val", splits.val), ("test", splits.test)):
            outputs[f"{i}.{part}"] = found = trainer.scored(net, data.x)
            if wrong := splits.task.bad_outputs(found, len(data)):
                shaped = found.shape == (len(data), splits.task.outputs)
                raise (FloatingPointError if shaped else PluginError)(f"on {part} of {ref}, {wrong}")
        _refuse_joint(bench, net, splits.test.x, found)
    metas = [bench.store.meta(artifact) for _, artifact in job.fused]
    trained = sum(one.trainable for one in trainers)
    meta = {
        **cost_of(bench, watch, *trainers),
        "trainable": trained + (0 if alone else sum(int(one["trainable"]) for one in metas)),
        "quality": _quality(bench, outputs),
        "parameters": parameter_count(model),
        "bytes": size_of(model),
        "flops": _flops(bench, model),
        "counting": COUNTING,
        "machine": machine_id(),
        "statistics": model.policy if isinstance(model, ManyHeads) and running(model.stages) else "",
        **bill_of(metas, alone),
        **_added(bench, model, metas),
        **extra,
    }
    weights = to_store(model) if isinstance(model, ManyHeads) else None
    bench.store.save(job.artifact, meta, origin=origin_of(bench.order), weights=weights, outputs=outputs)


def _refuse_joint(bench: Workbench, net: nn.Module, x: Tensor, outputs: Tensor) -> None:
    trainer, order = bench.fusion_trainer, bench.order
    refuse_joint(lambda rows: trainer.outputs(net, x[rows.to(x.device)]), outputs, order.job.artifact, order.settings)


def _flops(bench: Workbench, model: Model) -> int:
    """Of one example of the task that takes most."""
    first = {ref: splits.test.inputs(slice(1)) for ref, splits in bench.crossed.items()}
    return max(flops_per_example(network(model, ref), x) for ref, x in first.items())


def _added(bench: Workbench, model: Model, metas: Sequence[Record]) -> Record:
    """The scheme that added modules to the members' bodies, if the fused body has them too."""
    prepared = [meta["prepared_by"] for meta in metas if "prepared_by" in meta]
    if not prepared or not isinstance(model, ManyHeads):
        return {}
    plain = base(bench).stages.state_dict().keys() == model.stages.state_dict().keys()
    return {} if plain else {"prepared_by": prepared[0]}


def _own(bench: Workbench) -> dict[Ref, dict[str, Tensor]]:
    """The outputs of each task's own model: of its members that were tuned first, the best on val."""
    job, found = bench.order.job, dict[Ref, tuple[float, dict[str, Tensor]]]()
    for (_, artifact), ref in zip(job.own, job.tasks, strict=True):
        splits, outputs = bench.crossed[ref], bench.store.outputs(artifact)
        outputs = {part: outputs[part].to(splits.test.y.device) for part in ("val", "test")}
        quality = splits.task.quality(outputs["val"], splits.val)
        if ref not in found or quality > found[ref][0]:
            found[ref] = quality, outputs
    return {ref: found[ref][1] for ref in bench.crossed}


def _quality(bench: Workbench, outputs: Mapping[str, Tensor]) -> float:
    """How good it is on val, for choosing: the mean over the tasks of their quality by that of their own model.

    NaN where a task has no measure, unless the suite leaves such tasks out, and where none has.
    """
    own, found, zero = _own_qualities(bench), [], _aggregate(bench).zero
    for i, (ref, splits) in enumerate(bench.crossed.items()):
        if counts(splits.task, own[ref], zero):
            found.append(splits.task.normalised(splits.task.quality(outputs[f"{i}.val"], splits.val), own[ref]))
    return sum(found) / len(found) if found else math.nan


def _own_qualities(bench: Workbench) -> dict[Ref, float]:
    """How good each task's own model is on val."""
    own = _own(bench)
    return {ref: splits.task.quality(own[ref]["val"], splits.val) for ref, splits in bench.crossed.items()}


def _refuse_unmeasured(bench: Workbench) -> None:
    """Nothing, if the tasks' own models are a measure to choose by, as far as the suite wants it of each.

    Raises:
        NotApplicable: else.
    """
    own, zero = _own_qualities(bench), _aggregate(bench).zero
    no_measure = [ref for ref, splits in bench.crossed.items() if not counts(splits.task, own[ref], "left-out")]
    if len(no_measure) == len(own):
        raise NotApplicable("the own models of all tasks score 0 on val, and nothing can be chosen by them")
    if no_measure and zero == "undefined":
        said = f"the own model of {no_measure[0]} scores 0 on val, and nothing can be chosen by it"
        raise NotApplicable(f'{said}; `aggregate = {{ zero = "left-out" }}` leaves the task out')


def _scores(bench: Workbench, artifact: str) -> Record:
    outputs, own = _outputs(bench, artifact), {str(ref): one for ref, one in _own(bench).items()}
    return crossing_fields(bench.metrics, _shown(bench), outputs, own, _aggregate(bench))


def _outputs(bench: Workbench, artifact: str) -> dict[str, dict[str, Tensor]]:
    """What an artifact gives for val and test of each task, by what the suite calls the data sets."""
    stored = bench.store.outputs(artifact)
    return {
        str(ref): {part: stored[f"{i}.{part}"].to(splits.test.y.device) for part in ("val", "test")}
        for i, (ref, splits) in enumerate(bench.crossed.items())
    }


def _predicted(bench: Workbench) -> Record:
    """The classes predicted for the test examples of each task that has classes; not of trials."""
    if bench.order.job.kind != "fuse":
        return {}
    outputs, found = _outputs(bench, bench.order.job.artifact), list[Answers]()
    for ref, splits in bench.crossed.items():
        names = bench.loaded(ref, bench.order.job.seed).classes
        found += answers(str(ref), splits.task, names, splits.test, outputs[str(ref)]["test"])
    return packed(found)


def _shown(bench: Workbench) -> dict[str, Splits]:
    """The splits by what the suite calls the data sets."""
    return {str(ref): splits for ref, splits in bench.crossed.items()}


def pool(bench: Workbench) -> Record:
    """What the fusions are to be held against: each task's own model, and its head on the body before any tuning."""
    job, trainer = bench.order.job, bench.fusion_trainer
    untouched: dict[str, dict[str, Tensor]] = {}
    for ref, splits in bench.crossed.items():
        own = [artifact for (_, artifact), task in zip(job.own, job.tasks, strict=True) if task == ref]
        head = bench.tuned(max(own, key=lambda artifact: float(bench.store.meta(artifact)["quality"]))).head
        net = Net(list(bench.one(ref).start().stages), head)
        untouched[str(ref)] = {part: trainer.scored(net, getattr(splits, part).x) for part in ("val", "test")}
    own_outputs = {str(ref): outputs for ref, outputs in _own(bench).items()}
    return crossing_bounds(bench.metrics, _shown(bench), own_outputs, untouched, _aggregate(bench)) | {
        "machine": machine_id()
    }


def deployed_for_tasks(bench: Workbench) -> Model:
    """What the job fused or timed, by task, in evaluation mode: from the store, or made again from the members.

    Raises:
        StoreError: if it, or a member, is not in the store.
    """
    made = bench.order.job.timed or bench.order.job.artifact
    if bench.strategy("fusion").level == "weight" and bench.store.has(made):
        net = bench.tuned(made)
        assert isinstance(net, ManyHeads)
        return net
    return remade(bench)


def time(bench: Workbench) -> Record:
    """Measure the latency of what would be deployed for the first task."""
    untouched = _untouched(bench)
    ref, splits = next(iter(bench.crossed.items()))
    model = network(deployed_for_tasks(bench), ref).eval()
    untouched.check()
    return latency_fields(model, splits.test.x, bench.order, bench.store)
