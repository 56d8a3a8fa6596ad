"""Further merges against mergekit and fusion_bench (oracles/make_more_weight_fusions.py), and against formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finefuse import nets
from finefuse_zoo.fusions import multislerp
from finefuse_zoo.fusions._task_vectors import gram
from finefuse_zoo.fusions.arcee_fusion import ArceeFusion
from finefuse_zoo.fusions.breadcrumbs import Breadcrumbs
from finefuse_zoo.fusions.consensus import Consensus
from finefuse_zoo.fusions.dare import Dare
from finefuse_zoo.fusions.della import Della
from finefuse_zoo.fusions.expo import Expo
from finefuse_zoo.fusions.iso_c import IsoC
from finefuse_zoo.fusions.iso_cts import IsoCts
from finefuse_zoo.fusions.multislerp import MultiSlerp
from finefuse_zoo.fusions.nuslerp import NuSlerp
from finefuse_zoo.fusions.pcb import Pcb
from finefuse_zoo.fusions.sce import Sce
from finefuse_zoo.fusions.slerp import slerp
from finefuse_zoo.fusions.svc import Svc
from finefuse_zoo.fusions.task_arithmetic import TaskArithmetic
from finefuse_zoo.fusions.wudi import Wudi
from helpers.holders import fused, random_pool, stored_in

FIRST = stored_in(Path(__file__).with_name("oracles") / "weight_fusions.npz")
MORE = stored_in(Path(__file__).with_name("oracles") / "more_weight_fusions.npz")
BASE, MEMBERS = FIRST("base"), [FIRST(f"member{i}") for i in range(3)]


def changes(base, members, name):
    return [(m[name] - base[name]).double().flatten(1) for m in members]


@pytest.mark.parametrize(
    ("fusion", "oracle", "count"),
    [
        (Sce(k=0.4), "sce", 3),
        (Sce(k=1.0), "sce all", 3),
        (MultiSlerp(), "multislerp", 3),
        (NuSlerp(t=0.3), "nuslerp", 2),
        (NuSlerp(t=0.3, by="row"), "nuslerp row", 2),
        (ArceeFusion(), "arcee-fusion", 1),
        (IsoCts(common=0.6), "iso-cts", 3),
        (Breadcrumbs(k=0.3, top=0.1), "breadcrumbs", 3),
    ],
    ids=str,
)
def test_results_are_those_of_mergekit_and_fusion_bench(fusion, oracle, count):
    made, wanted = fused(fusion, BASE, MEMBERS[:count]), MORE(oracle)
    assert made.keys() == wanted.keys() != set()
    for name, tensor in wanted.items():
        assert torch.allclose(made[name], tensor.view(made[name].shape), atol=3e-6, rtol=0), name


def test_wudi_is_fusion_benchs_to_the_rounding_of_its_float32_steps():
    made, wanted, start = fused(Wudi(), BASE, MEMBERS), MORE("wudi"), fused(Wudi(steps=0), BASE, MEMBERS)
    for name in ("linear", "conv", "tall"):
        assert (wanted[name] - start[name]).abs().max() > 2e-3
        assert torch.allclose(made[name], wanted[name], atol=2e-5, rtol=0), name


@pytest.mark.parametrize(("k", "top"), [(0.143, 0.007), (0.5, 0.0), (0.9, 0.3), (1.0, 0.2), (0.01, 0.5)])
def test_breadcrumbs_by_sorting(k, top):
    base, members = random_pool(1)
    made = fused(Breadcrumbs(k=k, top=top, scaling=0.7), base, members)
    for name, start in base.items():
        wanted = start.double().flatten()
        for member in members:
            tau = (member[name] - start).double().flatten()
            n, order = len(tau), tau.abs().argsort()
            kept = max(1, int(k * n))
            last = n - min(int(top * n), n - kept)
            middle = order[last - kept : last]
            wanted[middle] += 0.7 * tau[middle]
        assert torch.allclose(made[name].double().flatten(), wanted, atol=1e-6), name


def test_della_draws_as_mergekit_where_rows_are_rows():
    for name in ("linear", "conv", "tall"):
        tau = (MEMBERS[0][name] - BASE[name]).flatten(1)
        ours = Della(p=0.4, width=0.3)._stays(tau.double())
        assert torch.allclose(ours, MORE("della stays")[name].double(), atol=1e-6), name


def test_della_by_replaying_its_draws():
    base, members = random_pool(3)
    rng = torch.Generator().manual_seed(5)
    made = fused(Della(p=0.4, width=0.3, scaling=0.6), base, members, seed=5)
    for name, start in base.items():
        thinned = []
        for member in members:
            tau = (member[name] - start).double().reshape(start.shape[0] if start.ndim > 1 else 1, -1)
            drawn = torch.rand(tau.numel(), generator=rng, dtype=torch.float64).view(tau.shape)
            out = torch.zeros_like(tau)
            for i, row in enumerate(tau):
                for rank, j in enumerate(row.abs().argsort().tolist()):
                    dropped = 0.4 + 0.15 - 0.3 * rank / (len(row) - 1)
                    if drawn[i, j] < 1 - dropped:
                        out[i, j] = row[j] / (1 - dropped)
            thinned.append(out.flatten())
        tau = torch.stack(thinned)
        agrees = tau * torch.where(tau.sum(0) >= 0, 1.0, -1.0) > 0
        wanted = start.flatten() + 0.6 * (tau * agrees).sum(0) / agrees.sum(0).clamp_min(1)
        assert torch.allclose(made[name].double().flatten(), wanted, atol=1e-6), name


def test_della_without_width_is_dare_with_ties():
    base, members = random_pool(4, 1)
    draws = [
        torch.stack([fused(one, base, members, seed)["a"] for seed in range(300)]).double()
        for one in (Della(p=0.3, width=0.0, scaling=1.0), Dare(p=0.3, then="ties", scaling=1.0))
    ]
    assert torch.allclose(draws[0].mean(0), draws[1].mean(0), atol=0.06)
    assert torch.allclose(draws[0].mean(0), members[0]["a"].double(), atol=0.06)


def test_consensus_keeps_what_fusion_benchs_masks_agree_on():
    tall = MORE("tall masks")
    for agree in (1, 2, 3):
        made = fused(Consensus(agree=agree, strictness=0.4, scaling=0.5), BASE, MEMBERS)
        for name, start in BASE.items():
            kept = (tall[name].sum(0) >= agree).view(start.shape)
            total = sum(m[name] - start for m in MEMBERS)
            assert agree != 2 or 0 < kept.sum() < kept.numel()
            assert torch.allclose(made[name], start + 0.5 * total * kept, atol=3e-6), name


def test_pcb_by_brute_force():
    base, members = random_pool(5, 3)
    made = fused(Pcb(k=0.3, scaling=0.8), base, members)
    tau = torch.stack([torch.cat([(m[n] - base[n]).double().flatten() for n in base]) for m in members])
    n = tau.shape[1]
    size = torch.stack([row.abs().clamp(row.abs().sort().values[0], row.abs().sort().values[n - 2]) for row in tau])
    weights = []
    for m in range(3):
        magnitude = (size[m] - size[m].min()) / (size[m].max() - size[m].min())
        score = torch.exp(3 * magnitude**2) * torch.tanh(tau[m] * tau.sum(0))
        score = score.clamp_min(score.sort().values[int(n * 0.7)])
        weights.append((score - score.min()) / (score.max() - score.min()))
    weight = torch.stack(weights)
    assert int(n * (1 - 1e-4) - 1) == n - 2
    assert (weight.sum(0) == 0).any()
    moved = (tau.sign() * size * weight).sum(0) / weight.sum(0).clamp_min(1e-12)
    flat = torch.cat([made[name].double().flatten() - base[name].flatten() for name in base])
    assert torch.allclose(flat, 0.8 * moved, atol=1e-6)


def test_arcee_fusion_averages_what_stands_out_of_each_member():
    base, members = random_pool(6, 2)
    one, other = (fused(ArceeFusion(), base, [m]) for m in members)
    both = fused(ArceeFusion(), base, members)
    for name in base:
        assert torch.allclose(both[name], (one[name] + other[name]) / 2, atol=1e-6)
        share = (one[name] != base[name]).double().mean()
        assert 0 < share < 0.3, name


def test_expo_goes_beyond_the_mean():
    base, members = random_pool(7, 3)
    mean = {n: torch.stack([m[n] for m in members]).double().mean(0) for n in base}
    made, soup = fused(Expo(a=0.4), base, members), fused(Expo(a=0.0), base, members)
    for name, start in base.items():
        assert torch.allclose(made[name].double(), mean[name] + 0.4 * (mean[name] - start), atol=1e-6)
        assert torch.allclose(soup[name].double(), mean[name], atol=1e-6)


def test_multislerp_at_its_edges():
    def merged(*tensors):
        return nets.weighted_sum(list(tensors), multislerp.coefficients(gram(list(tensors))).tolist())

    one, other = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    assert torch.allclose(merged(one, other), slerp(one, other, 0.5))
    assert torch.equal(merged(one, -one), torch.zeros(2))
    assert torch.equal(merged(torch.zeros(2), torch.zeros(2)), torch.zeros(2))
    assert torch.allclose(merged(one, torch.zeros(2)), one / 2)


def test_all_directions_in_common_are_iso_c():
    base, members = random_pool(8, 3)
    one, other = fused(IsoCts(common=1.0), base, members), fused(IsoC(), base, members)
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in base)


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_svc_vector_by_vector(strength):
    base, members = random_pool(9, 3)
    merged = fused(TaskArithmetic(0.8), base, members)
    made = fused(Svc(strength=strength, scaling=0.8), base, members)
    for name in ("a", "b"):
        taus, change = changes(base, members, name), (merged[name] - base[name]).double().flatten(1)
        u, s, vh = torch.linalg.svd(change, full_matrices=False)
        wanted = base[name].double().flatten(1).clone()
        for r in range(len(s)):
            whole = u[:, r] @ change
            shares = [
                max(strength, float(whole @ (u[:, r] @ tau)) / float((u[:, r] @ tau).square().sum())) for tau in taus
            ]
            wanted += s[r] * 3 / sum(shares) * torch.outer(u[:, r], vh[r])
        assert torch.allclose(made[name].double().flatten(1), wanted, atol=1e-5), name
    assert torch.equal(made["c"], merged["c"])


def test_svc_undoes_what_is_counted_twice():
    base, members = random_pool(10, 1)
    made = fused(Svc(), base, members * 4)
    assert torch.allclose(made["a"], members[0]["a"], atol=1e-5)
    assert torch.allclose(made["b"], members[0]["b"], atol=1e-5)


def test_wudi_exact_is_the_nearest_minimum():
    base, members = random_pool(11, 2)
    made = fused(Wudi(solve="exact"), base, members)
    for name in ("a", "b"):
        taus = changes(base, members, name)
        tau = (made[name] - base[name]).double().flatten(1)
        slope = sum((tau - one) @ one.T @ one / one.square().sum() for one in taus)
        assert torch.allclose(slope, torch.zeros_like(slope), atol=1e-6), name
        seen = torch.cat(taus)  # what lies outside of all rows stays as in the sum
        outside = torch.eye(seen.shape[1], dtype=torch.float64) - torch.linalg.pinv(seen) @ seen
        assert torch.allclose(tau @ outside, sum(taus) @ outside, atol=1e-5), name
    one = fused(Wudi(solve="exact"), base, members[:1])
    assert all(torch.allclose(one[name], members[0][name], atol=1e-5) for name in base)
