"""How well a tuned or merged body still does what its backbone was pretrained for, with the head of that time."""

from __future__ import annotations

from finefuse.discovery import capabilities
from finefuse.engine.measure.scores import score_of
from finefuse.engine.work.sharing import shared_stages
from finefuse.engine.work.workbench import Workbench
from finefuse.nets import ManyHeads, Net, recalibrate
from finefuse.types import Record


def source_fields(bench: Workbench) -> Record:
    """Scores on the test examples of the source task: the job's network with the pretrained head, and `before` tuning.

    Nothing for what is no single network, for a body whose features have another width, and where no metric of the job
    is for the source's kind of task.
    """
    job = bench.order.job
    if job.source is None or job.kind == "trial" or not bench.store.has_weights(job.artifact):
        return {}
    splits, one = bench.loaded(job.source, 0).splits, bench.one(job.tasks[0]) if job.tasks else bench
    metrics = {
        name: metric for name, metric in bench.metrics.items() if splits.task.kind in capabilities.metric_kinds(metric)
    }
    before, net = one.pretrained(), bench.tuned(job.artifact)
    alike = before.head.in_features == net.head.in_features and before.head.out_features == splits.task.outputs
    if not alike or not metrics:
        return {}
    after = Net(list(net.stages), before.head, net.recipe).eval()
    if isinstance(net, ManyHeads) and net.policy == "per-task":
        recalibrate(after, splits.train.x)
    models = {"source": after, "source.before": before}
    trainer = one.fusion_trainer
    trainer.shared = shared_stages(bench.order, bench.registry, before)
    outputs = {name: trainer.scored(model, splits.test.x) for name, model in models.items()}
    return {"source_data": str(job.source)} | {
        f"{name}.{metric}": score_of(metric, metrics[metric], found, splits.test.y)
        for name, found in outputs.items()
        for metric in metrics
    }
