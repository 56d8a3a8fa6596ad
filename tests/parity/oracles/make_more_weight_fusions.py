"""Writes more_weight_fusions.npz: the same members as in weight_fusions.npz, merged by further methods.

python -m venv oracles && . oracles/bin/activate
pip install torch mergekit==0.1.5 fusion-bench==0.2.33
python tests/parity/oracles/make_more_weight_fusions.py
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import torch
from fusion_bench.method.isotropic_merging.iso_utils import iso_cts
from fusion_bench.method.tall_mask.utils import generate_task_masks
from fusion_bench.method.wudi.wudi import wudi_merging
from make_weight_fusions import flat, mergekit, tensors
from mergekit import sparsify


def probabilities(tau: torch.Tensor) -> torch.Tensor:
    """What mergekit's DELLA draws its mask with: density 0.6, epsilon 0.15."""
    seen = []
    bernoulli, torch.bernoulli = torch.bernoulli, lambda p: seen.append(p.clone()) or torch.ones_like(p)
    try:
        sparsify.della_magprune(tau, density=0.6, epsilon=0.15)
    finally:
        torch.bernoulli = bernoulli
    return seen[0].view(tau.shape)


def masks(base: dict, members: list[dict]) -> dict[str, torch.Tensor]:
    """TALL masks of every tensor, (members, ...), at lambda 0.4."""
    made = {}
    for name, start in base.items():
        tuned = torch.stack([m[name].flatten() for m in members])
        tau = tuned - start.flatten()
        made[name] = generate_task_masks(tau, tuned, start.flatten(), tall_mask_lambda=0.4).float()
    return made


def on_base(base: dict, tau: dict) -> dict:
    return {n: (base[n] + tau[n].detach().view(base[n].shape)) for n in base}


def main() -> None:
    base, members = tensors()
    start = flat(base)
    taus = [{n: t - start[n] for n, t in flat(m).items()} for m in members]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        made = {
            "breadcrumbs": mergekit(
                "breadcrumbs",
                base,
                members,
                {"weight": [0.3] * 3, "density": [0.3] * 3, "gamma": [0.1] * 3},
                normalize=False,
            ),
            "sce": mergekit("sce", base, members, select_topk=0.4),
            "sce all": mergekit("sce", base, members, select_topk=1.0),
            "multislerp": mergekit("multislerp", None, members, {"weight": [1.0] * 3}),
            "nuslerp": mergekit("nuslerp", base, members[:2], {"weight": [0.7, 0.3]}, nuslerp_flatten=True),
            "nuslerp row": mergekit(
                "nuslerp", flat(base), [flat(m) for m in members[:2]], {"weight": [0.7, 0.3]}, nuslerp_flatten=False
            ),
            "arcee-fusion": mergekit("arcee_fusion", base, members[:1]),
            "iso-cts": on_base(base, iso_cts(taus, 0.6, accelerator="cpu")),
            "wudi": on_base(base, wudi_merging(taus, accelerator="cpu")),
            "tall masks": masks(base, members),
            "della stays": {n: probabilities(flat(members[0])[n] - start[n]) for n in base},
        }
    arrays = {f"{name}/{n}": t.numpy() for name, state in made.items() for n, t in state.items()}
    np.savez_compressed(Path(__file__).with_name("more_weight_fusions.npz"), **arrays)


if __name__ == "__main__":
    main()
