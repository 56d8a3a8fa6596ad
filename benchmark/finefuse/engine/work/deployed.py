"""The module that a job's strategy makes, as it would be deployed: read from the store, or fused again."""

from __future__ import annotations

from torch import nn

from finefuse.engine.randomness import seeded
from finefuse.engine.work.stages import after_all, stages_of
from finefuse.engine.work.workbench import Workbench
from finefuse.nets import CombineOutputs


def deployed(bench: Workbench) -> nn.Module:
    """What the job tuned, fused or timed, in evaluation mode and with all its weights in memory.

    Tuned networks and fused weights come from the store, which keeps only the outputs of ensembles: these are fused
    again from their members, with the randomness they were fused with.

    Raises:
        StoreError: if it, or a member, is not in the store.
        NotApplicable: with the reason, if the members can't be fused so.
    """
    job = bench.order.job
    made = job.timed or job.artifact
    if not job.fused:
        return bench.tuned(made)
    with seeded(bench.seed("strategy", **bench.run_axes)):
        fusion = bench.strategy("fusion")
        if fusion.level == "weight" and bench.store.has(made):
            return bench.tuned(made)
        model: nn.Module = after_all(fusion.fuse(bench.fusing()), stages_of(bench, Workbench.fusing))
    for module in list(model.modules()):
        if isinstance(module, CombineOutputs):
            module.materialise()
    return model.eval()
