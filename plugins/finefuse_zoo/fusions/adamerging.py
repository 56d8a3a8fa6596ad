"""Adaptive merging at test time."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.fusions._entropy import learned_shares
from finefuse_zoo.fusions._statistics import renewed
from finefuse_zoo.fusions._task_vectors import one_of_each_task, test_inputs

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class AdaMerging:
    """theta_l = theta_0l + sum_m lambda_ml (theta_ml - theta_0l), lambda learned on the test inputs (2310.02575).

    Yang et al. 2024. Transductive: it minimises the entropy of its predictions on test inputs, without their labels, by
    `steps` of Adam on one lambda per member and tensor, in batches of the trainer's size; None uses the whole budget.
    Meanwhile BatchNorm normalises by the batch; `recalibrate` recomputes its statistics on the test inputs at the end.
    Even one member is moved from its start by lambda only, and equal ones by their sum. As a stage it does the same
    with what the merge has learned, theta_0l + lambda_l (theta_l - theta_0l), from lambda 1. Classification only. Don't
    compare its rows with those of fusions that don't see the test inputs. Checked by a replay with plain autograd; no
    steps give task arithmetic, lambda 0 the base.
    """

    lr: Annotated[float, Gt(0)] = 1e-3
    start: float = 0.3
    steps: Annotated[int, Ge(0)] | None = None
    recalibrate: bool = True
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.1, "log": True}, "start": {"low": 0.1, "high": 1.0}}
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("base", "trainer", "test inputs")
    uses_labels: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def own_gradients(self, of: Fusing) -> int:  # noqa: ARG002
        """As many as are asked for; by default they are the budget's."""
        return self.steps or 0

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        copies = [copy.deepcopy(member.net).eval() for member in one_of_each_task(of.members)]
        own = nets.own_names(of.members[0].net)
        lambdas = learned_shares(of, nets.states_of(of.members), copies, self.start, self.lr, self.steps)
        base = nets.base_state(of)

        def rule(name: str, tensors: list[Tensor]) -> Tensor:
            start = base[name].double()
            change: Tensor = torch.tensordot(lambdas[own[name]].double(), torch.stack(tensors).double() - start, 1)
            return start + change

        return nets.merged(of.members, rule, test_inputs(of, self.recalibrate))

    def follow(self, net: nets.Net, of: Fusing) -> nets.Net:
        """The same network with other parameters."""
        base, params = nets.base_state(of), dict(net.named_parameters())
        copies = [copy.deepcopy(nets.for_task(net, group)).eval() for group in nets.by_task(of.members)]
        lambdas = learned_shares(of, [net.state_dict()], copies, 1.0, self.lr, self.steps)  # type: ignore[arg-type]
        with torch.no_grad():
            for name, (share,) in lambdas.items():
                start = base[name].double()
                params[name].copy_(start + share.double() * (params[name].double() - start))
        return renewed(net, test_inputs(of, self.recalibrate))
