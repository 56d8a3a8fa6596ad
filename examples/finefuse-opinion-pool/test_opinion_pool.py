"""What finefuse promises about every fusion holds for this one, and its weights are the best there are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from finefuse_opinion_pool import OpinionPool
from scipy import optimize

from finefuse.testing import LINE, POINTS, TASKS, check_fusion, small_fusing, small_members


def test_it_keeps_the_rules() -> None:
    check_fusion(OpinionPool())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind} {task.modality}")
def test_no_step_along_the_simplex_is_better(task) -> None:
    of = small_fusing(small_members(task), task, ("val",))
    w = OpinionPool(shrink=0.0).weights(of)
    assert w.min() >= 0
    assert w.sum() == pytest.approx(1)
    outputs = torch.stack([member.val_outputs for member in of.members]).double()

    def loss(weights) -> float:
        return float(task.loss(task.averaged(outputs, torch.from_numpy(weights)), of.val.y))

    for corner in np.eye(3):
        for step in (0.01, 0.1, 1.0):
            assert loss(w) <= loss((1 - step) * w + step * corner) + 1e-6


def test_in_regression_it_is_constrained_least_squares() -> None:
    of = small_fusing(small_members(LINE), LINE, ("val",))
    columns = torch.stack([member.val_outputs.flatten() for member in of.members], 1).double().numpy()
    strict = 1e4  # the sum of the weights as one more equation
    a, b = np.vstack([columns, np.full((1, 3), strict)]), np.append(of.val.y.flatten().numpy(), strict)
    np.testing.assert_allclose(OpinionPool(shrink=0.0).weights(of), optimize.nnls(a, b)[0], atol=2e-3)


def test_a_member_that_knows_nothing_is_not_deployed() -> None:
    good, bad = small_members(POINTS, 2)
    with torch.no_grad():
        bad.head.weight.mul_(-1)
    fused = OpinionPool(shrink=0.0).fuse(small_fusing([good, bad], POINTS, ("val",)))
    assert [member.name for member in fused.members] == ["m0"]


def test_a_large_shrink_is_the_plain_mean() -> None:
    of = small_fusing(small_members(POINTS), POINTS, ("val",))
    np.testing.assert_allclose(OpinionPool(shrink=1e4).weights(of), np.full(3, 1 / 3), atol=1e-4)


def test_what_scipy_can_t_solve_is_said() -> None:
    of = small_fusing(small_members(POINTS), POINTS, ("val",))
    of.members[0].val_outputs.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="SciPy found no weights: "):
        OpinionPool().weights(of)
