"""Carries out one job. Runs in a worker; what it makes goes to the store, what it measured comes back as a row."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter

import torch
from torch import Tensor, nn

from finefuse.declare.facts import Facts
from finefuse.declare.keys import COUNTING
from finefuse.discovery import capabilities
from finefuse.engine.measure.bounds import bounds
from finefuse.engine.measure.cost import (
    Stopwatch,
    begin_job,
    machine_id,
    warm_up,
)
from finefuse.engine.measure.latency import latency_fields
from finefuse.engine.measure.predicted import answers
from finefuse.engine.measure.scores import score_fields
from finefuse.engine.order import Order, row
from finefuse.engine.randomness import seeded
from finefuse.engine.store.origin import origin_of
from finefuse.engine.train.lent import lent
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.engine.work import crossing
from finefuse.engine.work.chosen import beside, choose_fused, fused_trial, keep_trial
from finefuse.engine.work.deployed import deployed
from finefuse.engine.work.diverged import divergence_noticed
from finefuse.engine.work.ensembles import combined, counts, of_members, stored_outputs
from finefuse.engine.work.forgetting import source_fields
from finefuse.engine.work.given import given, refuse_changed_files
from finefuse.engine.work.loading import loaded, refuse_changed
from finefuse.engine.work.made import Made, bill_of, billed, choices_of, cost_of, figures_of, to_store
from finefuse.engine.work.room import room
from finefuse.engine.work.searching import at_edge, quality_of, search_of, suggested
from finefuse.engine.work.separate import chunks, refuse_joint
from finefuse.engine.work.stages import after_all, require_budgets_kept, stages_of, trainers
from finefuse.engine.work.switches import current, refuse_emulated, set_up
from finefuse.engine.work.workbench import Workbench
from finefuse.errors import NotApplicable, PluginError
from finefuse.memory import leave_to_divide
from finefuse.nets import Net
from finefuse.predictions import packed
from finefuse.processor import refuse_unpinned
from finefuse.rows import told
from finefuse.types import Record, Ref, Scheme, Splits, Tuning


def carry_out(order: Order) -> Record:
    """Do the job, unless what it makes is in the store already, and return its row.

    Raises:
        Exception: whatever went wrong; `finefuse.engine.order.status_of` says which status that is.
    """
    if order.settings.portable:
        refuse_unpinned()
    with current(order.device), leave_to_divide(order.settings.accumulate):
        return _carried_out(order)


def _carried_out(order: Order) -> Record:
    began = perf_counter()
    refuse_emulated(order.settings, order.device)
    set_up(order.settings, order.device)
    warm_up(order.device)
    begin_job(order.device)
    room.begin(order.device, order.beside)
    bench = Workbench(order)
    with bench.effort.counting():
        surroundings = bench.surroundings
        surroundings.a_job_begins()
        for name in {type(metric).__module__ for metric in bench.metrics.values()} & sys.modules.keys():
            surroundings.look_at(sys.modules[name])
        try:
            with seeded(bench.seed("strategy", **bench.run_axes)):
                fields = (_CROSSING if order.job.tasks else _STEPS)[order.job.kind](bench)
        except NotApplicable as reason:
            return row(order, "skipped", reason=str(reason), machine=machine_id())
        finally:
            surroundings.put_back()
            loaded.cache_clear()  # what a plugin may have written to
    finished = row(order, "ok", **fields, job_seconds=perf_counter() - began)
    bench.store.save_row(order.job.key, finished)
    return finished


def pretrain(bench: Workbench) -> Record:
    """Train the backbone on its source data; without source data, keep the weights it comes with, or random ones."""
    store, artifact = bench.store, bench.order.job.artifact
    splits = bench.source
    if splits is None:
        meta: Record = {"machine": machine_id()}
        weights = to_store(bench.fresh(bench.source_task))
        backbone = bench.order.job.backbone
        refuse_changed(f"backbone {backbone}", bench.backbone, bench.order.contents.get(("backbone", backbone), ""))
        if said := capabilities.remarks(bench.backbone):
            meta["remarks"] = list(said)
        store.save(artifact, meta, origin=origin_of(bench.order), weights=weights)
        return store.meta(artifact)
    if not store.has(artifact):
        net = bench.fresh(splits.task)
        bench.place(net)
        trainer = bench.trainer(splits.task, splits.train, bench.backbone.budget(), bench.seed("pretraining"))
        data, rng, untouched = (splits.train, splits.val), bench.rng("pretraining"), bench.untouched(source=splits)
        on = Tuning(splits.task, net, net, lent(trainer), *data, rng, bench.scheme_of)
        with Stopwatch(bench.order.device) as watch:
            bench.backbone.tune(on)
        untouched.check()
        trainer.require_budget_kept()
        _save(bench, Made(net, trainer, watch, trainer.trainable), splits)
    return _scored(bench, splits)


def tune(bench: Workbench) -> Record:
    """Tune the pretrained backbone by a scheme, or choose from the trials of a search."""
    job = bench.order.job
    assert job.strategy is not None
    if job.trials:
        return choose(bench)
    if not bench.store.has(job.artifact):
        _tune(bench, job.strategy, {})
    # what is in the store may be another line's, which reads the same content by another name
    return _scored(bench, bench.splits) | given(bench.build("scheme", job.strategy), job.label)


def trial(bench: Workbench) -> Record:
    """One trial of a search; one that diverges is no failure, but scores lowest."""
    if bench.order.job.fused:
        return fused_trial(bench, fuse)
    job, search = bench.order.job, search_of(bench)
    if not bench.store.has(job.artifact):
        params = suggested(bench, search)
        bill: Record = {}
        try:
            _tune(bench, search.of.having(params), {"tried": params}, bill)
        except FloatingPointError as diverged:
            meta = {"tried": params, "quality": None, "reason": str(diverged), "machine": machine_id(), **bill}
            bench.store.save(job.artifact, meta, origin=origin_of(bench.order))
    meta = bench.store.meta(job.artifact)
    return meta if meta["quality"] is None else _scored(bench, bench.splits)


def choose(bench: Workbench) -> Record:
    """The trial that is best on val, the earliest of equals; its bill is that of the whole search."""
    store, job = bench.store, bench.order.job
    metas = [store.meta(artifact) for artifact in job.trials]
    best = max(range(len(metas)), key=lambda i: quality_of(metas[i]))
    if metas[best]["quality"] is None:
        raise FloatingPointError(f"all {len(metas)} trials diverged; the first: {metas[0]['reason']}")
    if not store.has(job.artifact):
        edges = at_edge(bench, search_of(bench), metas[best])
        keep_trial(bench, metas, best, {"trials": len(metas), "chosen": metas[best]["tried"], "at_edge": edges})
    return _scored(bench, bench.splits) | beside(bench, partial(_scores, bench, bench.splits))


def _tune(bench: Workbench, ref: Ref, extra: Record, bill: Record | None = None) -> None:
    """Tune by a scheme, and store what comes of it; `bill` gets what it cost, even if nothing does."""
    scheme, (on, trainer) = bench.build("scheme", ref), bench.tuning(ref)
    untouched = bench.untouched(task=bench.splits, source=bench.source if on.source is not None else None)
    if start := bench.order.job.start:
        if capabilities.method(scheme, "provenance"):
            raise NotApplicable(f"{ref.name} reads a finished network, and tunes none further")
        before = bench.store.meta(start)
        if "prepared_by" in before and capabilities.prepares(scheme):
            raise NotApplicable(f"{ref.name} adds modules to the network, and the fused one has some already")
        spent = before["seconds"] + before["seconds_members"]
        extra = extra | {"seconds_before": spent} | ({} if bench.order.job.round else {"seconds_members": spent})
        extra |= {name: before[name] for name in ("prepared_by", "given") if name in before}
    if bench.prepare(scheme, on.model):
        extra = extra | {"prepared_by": {"use": ref.name, "params": ref.kwargs}}
    watch = Stopwatch(bench.order.device)
    try:
        made = run_scheme(scheme, on, trainer, watch)
    finally:
        if bill is not None:
            bill.update(cost_of(bench, watch, trainer), steps=trainer.taken + bench.effort.own_steps)
    untouched.check()
    trainer.require_budget_kept()
    refuse_changed_files(Facts(bench.registry), bench.order.job)
    rate = {"rate": trainer.rate} if "tried" in extra else {}
    _save(bench, made, bench.splits, extra | rate | figures_of(on) | given(scheme, bench.order.job.label))


def run_scheme(scheme: Scheme, on: Tuning, trainer: SuiteTrainer, watch: Stopwatch) -> Made:
    """Tune and time; the bill is the scheme's own, without loading, saving or evaluation."""
    before = [p.detach().clone() for p in on.model.parameters()]
    with divergence_noticed(on.model), watch:
        scheme.tune(on)
    after = list(on.model.parameters())
    changed = sum(p.numel() for p, old in zip(after, before, strict=False) if not torch.equal(p, old))
    return Made(on.model, trainer, watch, trainer.trainable or changed)


def fuse(bench: Workbench, bill: Record | None = None, extra: Record | None = None) -> Record:
    """Fuse tuned members, or choose from what other jobs fused; `bill` as in `billed`, `extra` is stored with it."""
    job = bench.order.job
    if job.trials and not bench.store.has(job.artifact):
        choose_fused(bench)
    if not bench.store.has(job.artifact):
        fusion, of = bench.strategy("fusion"), bench.fusing()
        stages = stages_of(bench, Workbench.fusing)
        all_trainers = trainers(bench, stages)
        untouched = bench.untouched(task=bench.splits)
        with billed(bench, bill, all_trainers) as watch:
            fused = after_all(fusion.fuse(of), stages)
        untouched.check()
        require_budgets_kept(bench, of, stages)
        refuse_changed_files(Facts(bench.registry), job)
        if not isinstance(fused, nn.Module):
            raise PluginError(f"a fusion gives a module, and this one gave {told(fused)}")
        if fusion.level == "weight" and not isinstance(fused, Net):
            raise PluginError(f"a weight-level fusion gives a Net, and this one gave a {type(fused).__name__}")
        metas = [bench.store.meta(artifact) for _, artifact in job.fused]
        alone = capabilities.alone(fusion)
        trainer, *others = all_trainers
        trained = sum(one.trainable for one in all_trainers)
        trained += 0 if alone else sum(int(meta["trainable"]) for meta in metas)
        more = bill_of(metas, alone) | _added(bench, fused, metas) | choices_of(of) | (extra or {})
        _save(bench, Made(fused, trainer, watch, trained, others), bench.splits, more)
    return _scored(bench, bench.splits) | beside(bench, partial(_scores, bench, bench.splits))


def _added(bench: Workbench, fused: nn.Module, metas: Sequence[Record]) -> Record:
    """The scheme that added modules to a fused network, if it has the members' modules."""
    prepared = [meta["prepared_by"] for meta in metas if "prepared_by" in meta]
    plain = isinstance(fused, Net) and prepared and fused.state_dict().keys() == bench.start().state_dict().keys()
    return {} if plain or not prepared or not isinstance(fused, Net) else {"prepared_by": prepared[0]}


def pool(bench: Workbench) -> Record:
    """What a pool's fusions are to be held against, and how much its members differ; from their stored outputs."""
    splits, device = bench.splits, bench.order.device
    stored = [bench.store.outputs(artifact) for _, artifact in bench.order.job.fused]
    val, test = (torch.stack([outputs[part] for outputs in stored]).to(device) for part in ("val", "test"))
    return bounds(bench.metrics, splits, val, test) | {"machine": machine_id()}


def time(bench: Workbench) -> Record:
    """Measure the latency of what would be deployed."""
    untouched = bench.untouched(task=bench.splits)
    model = deployed(bench)
    untouched.check()
    return latency_fields(model, bench.splits.test.x, bench.order, bench.store)


_STEPS: Mapping[str, Callable[[Workbench], Record]] = {
    "pretrain": pretrain,
    "trial": trial,
    "tune": tune,
    "fuse": fuse,
    "pool": pool,
    "time": time,
}
_CROSSING: Mapping[str, Callable[[Workbench], Record]] = {
    "trial": lambda bench: fused_trial(bench, crossing.fuse),
    "fuse": crossing.fuse,
    "pool": crossing.pool,
    "time": crossing.time,
}
"""The same for pools across data sets."""


def _save(bench: Workbench, made: Made, splits: Splits, extra: Mapping[str, object] | None = None) -> None:
    """Compute the outputs and put all that was made, and what it cost, into the store."""
    outputs = _outputs(bench, made, splits)
    outputs |= _along_the_way(bench, made, outputs)
    more = {f"also.{name}": data.x for name, data in bench.more_tests.items()}
    outputs |= {part: made.trainer.scored(made.model, x) for part, x in more.items() if part not in outputs}
    _refuse_bad(bench, splits, outputs)
    _refuse_joint(bench, made, splits, outputs["test"])
    meta = {
        **cost_of(bench, made.watch, made.trainer, *made.others),
        "trainable": made.trainable,
        "quality": splits.task.quality(outputs["val"], splits.val),
        **counts(bench, made.model, splits),
        "counting": COUNTING,
        "machine": machine_id(),
        **(extra or {}),
    }
    weights = to_store(made.model) if isinstance(made.model, Net) else None
    bench.store.save(bench.order.job.artifact, meta, origin=origin_of(bench.order), weights=weights, outputs=outputs)


def _refuse_bad(bench: Workbench, splits: Splits, outputs: Mapping[str, Tensor]) -> None:
    """Outputs of another shape than the task's, or that are not finite, are no result, whatever the metrics say.

    Raises:
        PluginError: if their shape is wrong.
        FloatingPointError: if they are not finite.
    """
    examples = {"val": splits.val, "test": splits.test}
    examples |= {f"also.{name}": data for name, data in bench.more_tests.items()}
    for part, data in examples.items():
        if wrong := splits.task.bad_outputs(outputs[part], len(data)):
            shaped = outputs[part].shape == (len(data), splits.task.outputs)
            raise (FloatingPointError if shaped else PluginError)(f"on {part}, {wrong}")


def _refuse_joint(bench: Workbench, made: Made, splits: Splits, outputs: Tensor) -> None:
    """Ask for the outputs again, of test examples in other company."""
    address, settings = bench.order.job.artifact, bench.order.settings
    if of_members(made.model):
        stored = torch.stack([one["test"].to(outputs.device) for one in stored_outputs(bench, made.model)])
        combine = made.model.combine
        refuse_joint(lambda rows: combine(stored[:, rows]), outputs, address, settings, chunks(len(outputs)))
    else:
        x = splits.test.x
        refuse_joint(lambda rows: made.trainer.outputs(made.model, x[rows.to(x.device)]), outputs, address, settings)


def _outputs(bench: Workbench, made: Made, splits: Splits) -> dict[str, Tensor]:
    if of_members(made.model):
        return combined(bench, made.model, splits)
    return {
        "val": made.trainer.scored(made.model, splits.val.x),
        "test": made.trainer.scored(made.model, splits.test.x),
    }


def _along_the_way(bench: Workbench, made: Made, last: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Outputs of the checkpoints that were best; under `selection = "best-val"` the model goes back to that one."""
    curve = made.trainer.curve
    if curve is None:
        return {}
    curve.note(made.trainer.spent, last["val"], last["test"])
    assert curve.best is not None
    assert curve.peek is not None
    kept = {"best.val": curve.best.val, "best.test": curve.best.test, "peek.test": curve.peek.test}
    if bench.order.settings.selection == "last":
        return kept
    made.model.load_state_dict(curve.weights)
    return kept | {"val": curve.best.val, "test": curve.best.test, "last.val": last["val"], "last.test": last["test"]}


def _scored(bench: Workbench, splits: Splits) -> Record:
    """What the job cost and how good the outputs are, from the store; what was counted otherwise is counted again."""
    artifact = bench.order.job.artifact
    meta = bench.store.meta(artifact)
    former = meta.pop("counting", None) != COUNTING or "bytes" not in meta
    if former and "flops" in meta:
        meta |= counts(bench, deployed(bench), splits)
    told = _predicted(bench) | source_fields(bench) | bench.told
    return {**meta, **_scores(bench, splits, artifact), **told}


def _predicted(bench: Workbench) -> Record:
    """The classes predicted for the test examples, of what may be a line of the board or a member of one."""
    job = bench.order.job
    if job.kind not in ("tune", "fuse") or job.dataset is None:
        return {}
    loaded = bench.loaded(job.dataset, job.seed)
    outputs = bench.store.outputs(job.artifact)["test"].to(loaded.splits.test.y.device)
    return packed(answers("", loaded.splits.task, loaded.classes, loaded.splits.test, outputs))


def _scores(bench: Workbench, splits: Splits, artifact: str) -> Record:
    outputs = {part: tensor.to(splits.test.y.device) for part, tensor in bench.store.outputs(artifact).items()}
    return score_fields(bench.metrics, splits, outputs, bench.more_tests)
