"""Writes fusion_bench_data.npz: Fisher merging and RegMean by fusion_bench 0.2.33, on random tensors.

fusion_bench brings transformers, datasets and hydra along, too much to have beside everything else. In an environment
of its own: `pip install fusion-bench==0.2.33 && python make_fusion_bench_data.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from fusion_bench.method.fisher_merging.fisher_merging import merging_with_fisher_weights
from fusion_bench.method.regmean.regmean import merging_with_regmean_weights

MEMBERS, OUTPUTS, INPUTS = 3, 4, 6
rng = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


weights = [drawn(OUTPUTS, INPUTS) for _ in range(MEMBERS)]
fishers = [drawn(OUTPUTS, INPUTS).square() for _ in range(MEMBERS)]
inputs = [drawn(20, INPUTS) @ drawn(INPUTS, INPUTS) for _ in range(MEMBERS)]
grams = [x.T @ x for x in inputs]
fisher = merging_with_fisher_weights(
    {"w": weights},
    [{"w": f} for f in fishers],
    fisher_scaling_coefficients=torch.ones(MEMBERS, dtype=torch.float64),
    normalize_fisher_weight=False,
    minimal_fisher_weight=0.0,
)["w"]
merged = {
    str(a): merging_with_regmean_weights({"l.weight": weights}, [{"l": g} for g in grams], a)["l.weight"]
    for a in (1.0, 0.9, 0.0)
}
np.savez_compressed(
    Path(__file__).with_name("fusion_bench_data.npz"),
    weights=torch.stack(weights),
    fishers=torch.stack(fishers),
    grams=torch.stack(grams),
    fisher=fisher,
    **{f"regmean_{a}": w for a, w in merged.items()},
)
