"""Fusions of weights against mergekit and fusion_bench (oracles/make_weight_fusions.py), torch and plain formulas."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from finefuse_zoo.fusions.dare import Dare
from finefuse_zoo.fusions.iso_c import IsoC
from finefuse_zoo.fusions.karcher import Karcher
from finefuse_zoo.fusions.magmax import MagMax
from finefuse_zoo.fusions.model_stock import ModelStock
from finefuse_zoo.fusions.slerp import Slerp
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.fusions.task_arithmetic import TaskArithmetic
from finefuse_zoo.fusions.ties import Ties
from finefuse_zoo.fusions.tsv_m import TsvM
from finefuse_zoo.fusions.weighted_soup import WeightedSoup
from helpers.holders import fused, holder, random_pool, stored_in

stored = stored_in(Path(__file__).with_name("oracles") / "weight_fusions.npz")


@pytest.mark.parametrize(
    ("fusion", "oracle", "count"),
    [
        (WeightedSoup(weights=(0.2, 0.5, 0.3)), "linear", 3),
        (Slerp(t=0.3), "slerp", 2),
        (Slerp(t=0.3), "slerp fusion_bench", 2),
        (Karcher(), "karcher", 3),
        (TaskArithmetic(), "task-arithmetic", 3),
        (Ties(trim="tensor"), "ties tensor mean", 3),
        (Ties(trim="tensor", reduce="sum"), "ties tensor sum", 3),
        (Ties(), "ties global mean", 3),
        (Ties(reduce="sum"), "ties global sum", 3),
        (ModelStock(), "model-stock", 3),
        (MagMax(), "magmax", 3),
        (TsvM(), "tsv-m", 3),
        (IsoC(), "iso-c", 3),
    ],
    ids=str,
)
def test_results_are_those_of_mergekit_and_fusion_bench(fusion, oracle, count):
    members = [stored(f"member{i}") for i in range(count)]
    made, wanted = fused(fusion, stored("base"), members), stored(oracle)
    assert made.keys() == wanted.keys() != set()
    for name, tensor in wanted.items():
        assert torch.allclose(made[name], tensor, atol=3e-6, rtol=0), name


def test_a_mask_rescaled_by_l1_is_mergekits():
    base, member, wanted = stored("base"), stored("member0"), stored("l1")
    for name, tensor in base.items():
        kept = (torch.arange(tensor.numel()) % 3 > 0)[None]
        scale = Dare(rescale="l1")._scale(tensor, [member[name]], kept)
        made = (member[name] - tensor).flatten() * kept[0] * scale
        assert torch.allclose(made, wanted[name].flatten().double(), atol=1e-6)


def test_soup_is_torchs_averaged_model():
    base, members = random_pool(1)
    average = AveragedModel(holder(members[0]))
    for member in members:
        average.update_parameters(holder(member))
    for name, tensor in fused(Soup(), base, members).items():
        assert torch.allclose(tensor, getattr(average.module, name), atol=1e-6)


@pytest.mark.parametrize("trim", ["global", "tensor"])
@pytest.mark.parametrize("k", [0.05, 0.3, 1.0])
def test_ties_by_sorting(trim, k):
    base, members = random_pool(2)
    tau = [{n: (m[n] - base[n]).double() for n in base} for m in members]
    for one in tau:
        groups = [list(base)] if trim == "global" else [[n] for n in base]
        for names in groups:
            sizes = torch.cat([one[n].abs().flatten() for n in names]).sort(descending=True).values
            kept = min(len(sizes), int(k * len(sizes)) + 1) if trim == "global" else max(1, int(k * len(sizes)))
            for n in names:
                one[n] = one[n] * (one[n].abs() >= sizes[kept - 1])
    made = fused(Ties(k=k, trim=trim, scaling=0.7), base, members)
    for n, start in base.items():
        wanted = start.double().flatten()
        for i in range(start.numel()):
            values = [float(one[n].flatten()[i]) for one in tau]
            agree = [v for v in values if v * (1 if sum(values) >= 0 else -1) > 0]
            wanted[i] += 0.7 * sum(agree) / max(1, len(agree))
        assert torch.allclose(made[n].double().flatten(), wanted, atol=1e-6)


@pytest.mark.parametrize("then", ["task-arithmetic", "ties"])
def test_dare_by_replaying_its_masks(then):
    base, members = random_pool(3)
    rng = torch.Generator().manual_seed(5)
    made = fused(Dare(p=0.4, then=then, scaling=0.6), base, members, seed=5)
    for n, start in base.items():
        masks = [torch.rand(start.numel(), generator=rng) >= 0.4 for _ in members]
        tau = torch.stack(
            [(m[n] - start).flatten().double() * mask / 0.6 for m, mask in zip(members, masks, strict=True)]
        )
        if then == "ties":
            sign = torch.where(tau.sum(0) >= 0, 1.0, -1.0)
            tau = tau * (tau * sign > 0)
            merged = tau.sum(0) / (tau != 0).sum(0).clamp_min(1)
        else:
            merged = tau.sum(0)
        assert torch.allclose(made[n].flatten().double(), start.flatten() + 0.6 * merged, atol=1e-6)


def test_model_stock_by_its_formula():
    base, members = random_pool(4)
    made = fused(ModelStock(), base, members)
    for n, start in base.items():
        tau = [(m[n] - start).flatten().double() for m in members]
        cos = np.mean([float(torch.cosine_similarity(a, b, dim=0)) for a, b in itertools.combinations(tau, 2)])
        t = 4 * cos / (1 + 3 * cos)
        wanted = start.flatten().double() + t * torch.stack(tau).mean(0)
        assert torch.allclose(made[n].flatten().double(), wanted, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_tsv_m_and_iso_c_by_svd(count):
    base, members = random_pool(6, count)
    tsv, iso = fused(TsvM(), base, members), fused(IsoC(), base, members)
    for n in ("a", "b"):
        start = base[n].double().flatten(1)
        parts = [torch.linalg.svd(m[n].double().flatten(1) - start, full_matrices=False) for m in members]
        rank = min(start.shape) // count

        def orthogonal(matrix):
            u, _, vh = torch.linalg.svd(matrix, full_matrices=False)
            return u @ vh

        left = orthogonal(torch.cat([u[:, :rank] for u, _, _ in parts], 1))
        right = orthogonal(torch.cat([vh[:rank] for _, _, vh in parts]))
        wanted = start + left @ torch.diag(torch.cat([s[:rank] for _, s, _ in parts])) @ right
        assert torch.allclose(tsv[n].double().flatten(1), wanted, atol=1e-5)
        u, s, vh = torch.linalg.svd(sum(m[n].double().flatten(1) - start for m in members), full_matrices=False)
        assert torch.allclose(iso[n].double().flatten(1), start + s.mean() * u @ vh, atol=1e-5)
