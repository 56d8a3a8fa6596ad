"""Writes weight_fusions.npz: small tensors merged by mergekit and fusion_bench, which don't install beside the tests.

python -m venv oracles && . oracles/bin/activate
pip install torch mergekit==0.1.5 fusion-bench==0.2.33
python tests/parity/oracles/make_weight_fusions.py
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import torch
from fusion_bench.method.isotropic_merging.iso_utils import iso_c
from fusion_bench.method.magmax.magmax import _magmax_select
from fusion_bench.method.slerp.slerp_utils import slerp as fb_slerp
from fusion_bench.method.task_singular_vector.utils import TSVM_utils
from fusion_bench.method.ties_merging.ties_merging_utils import ties_merging
from mergekit.merge_methods import registry
from mergekit.merge_methods.base import PerInputValues, TensorGroup
from mergekit.sparsify import RescaleNorm, rescaled_masked_tensor

SHAPES = {"linear": (9, 12), "conv": (6, 4, 3, 3), "tall": (15, 6), "bias": (9,)}
MEMBERS = 3


def tensors() -> tuple[dict, list[dict]]:
    rng = torch.Generator().manual_seed(2024)

    def draw():
        return {name: torch.randn(shape, generator=rng) for name, shape in SHAPES.items()}

    base, shared = draw(), draw()
    members = []
    for _ in range(MEMBERS):
        own = draw()
        members.append({n: base[n] + 0.1 * shared[n] + 0.2 * own[n] for n in base})
    return base, members


def mergekit(name, base, members, per_input=None, **given):
    made = {}
    for key in members[0]:
        states = members if base is None else [base, *members]
        at = 0 if base is not None or name == "slerp" else None
        group = TensorGroup.from_tensors([s[key] for s in states], base_index=at, name=key)
        values = {
            what: PerInputValues([(i, v) for i, v in enumerate(vs, len(states) - len(vs))])
            for what, vs in (per_input or {}).items()
        }
        made[key] = registry.get(name)([group], parameters={**given, **values})[0]
    return made


def flat(state):
    return {n: t.flatten(1) if t.ndim > 2 else t for n, t in state.items()}


def fusion_bench_ties(base, members, reduce):
    names = list(base)
    tau = torch.stack([torch.cat([(m[n] - base[n]).flatten() for n in names]) for m in members])
    parts = torch.split(ties_merging(tau, reset_thresh=0.2, merge_func=reduce), [base[n].numel() for n in names])
    return {n: base[n] + part.view(base[n].shape) for n, part in zip(names, parts, strict=True)}


def main() -> None:
    base, members = tensors()
    start = flat(base)
    taus = [{n: t - start[n] for n, t in flat(m).items()} for m in members]
    mask = {n: (torch.arange(t.numel()) % 3 > 0).view(t.shape) for n, t in base.items()}
    with contextlib.redirect_stdout(io.StringIO()):
        spectral = {
            "tsv-m": TSVM_utils.compute_and_sum_svd_mem_reduction(taus, accelerator=torch.device("cpu")),
            "iso-c": iso_c(taus, accelerator="cpu"),
        }
        made = {
            "linear": mergekit("linear", None, members, {"weight": [0.2, 0.5, 0.3]}),
            "slerp": mergekit("slerp", None, members[:2], t=0.3),
            "slerp fusion_bench": {n: fb_slerp(0.3, members[0][n], members[1][n]) for n in base},
            "karcher": mergekit("karcher", None, members),
            "task-arithmetic": mergekit("task_arithmetic", base, members, {"weight": [0.3] * 3}),
            "ties tensor mean": mergekit("ties", base, members, {"weight": [1.0] * 3, "density": [0.2] * 3}),
            "ties tensor sum": mergekit(
                "ties", base, members, {"weight": [1.0] * 3, "density": [0.2] * 3}, normalize=False
            ),
            "ties global mean": fusion_bench_ties(base, members, "mean"),
            "ties global sum": fusion_bench_ties(base, members, "sum"),
            "model-stock": mergekit("model_stock", base, members),
            "magmax": {
                n: base[n] + t.view(base[n].shape)
                for n, t in _magmax_select([{k: m[k] - base[k] for k in base} for m in members]).items()
            },
            "l1": {n: rescaled_masked_tensor(members[0][n] - base[n], mask[n], RescaleNorm.l1) for n in base},
            **{name: {n: base[n] + t.view(base[n].shape) for n, t in tau.items()} for name, tau in spectral.items()},
        }
    arrays = {f"base/{n}": t.numpy() for n, t in base.items()}
    arrays |= {f"member{i}/{n}": t.numpy() for i, m in enumerate(members) for n, t in m.items()}
    arrays |= {f"{name}/{n}": t.numpy() for name, state in made.items() for n, t in state.items()}
    np.savez_compressed(Path(__file__).with_name("weight_fusions.npz"), **arrays)


if __name__ == "__main__":
    main()
