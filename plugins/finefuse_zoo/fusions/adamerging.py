"""Adaptive merging at test time."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import torch
from annotated_types import Ge, Gt

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need
from finefuse_zoo.fusions._curvature import called_with, own_names

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class AdaMerging:
    """theta_l = theta_0l + sum_m lambda_ml (theta_ml - theta_0l), lambda learned on the test inputs (2310.02575).

    Yang et al. 2024. Transductive: it minimises the entropy of its predictions on test inputs, without their labels, by
    `steps` of Adam on one lambda per member and tensor, in batches of the trainer's size; None takes as many steps as
    the budget has. Meanwhile BatchNorm normalises by the batch; `recalibrate` renews its statistics from the test
    inputs at the end. Even one member is moved from its start by lambda only, and equal ones by their sum.
    Classification only. Its rows are not to be compared with those of fusions that don't see the test inputs. Checked
    by a replay with plain autograd; no steps give task arithmetic, lambda 0 the base.
    """

    lr: Annotated[float, Gt(0)] = 1e-3
    start: float = 0.3
    steps: Annotated[int, Ge(0)] | None = None
    recalibrate: bool = True
    level: ClassVar[Level] = "weight"
    needs: ClassVar[tuple[Need, ...]] = ("base", "trainer", "test inputs")
    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    except_for: ClassVar[tuple[Law, ...]] = ("one member", "equal members")

    def fuse(self, of: Fusing) -> nn.Module:
        """One network."""
        assert of.test_inputs is not None
        nets.states_of(of.members)
        base, own = nets.base_state(of), own_names(of.members[0].net)
        names = list(dict.fromkeys(own.values()))
        lambdas = dict(zip(names, self._learned(of, names), strict=True))

        def rule(name: str, tensors: list[Tensor]) -> Tensor:
            start = base[name].double()
            change: Tensor = torch.tensordot(lambdas[own[name]].double(), torch.stack(tensors).double() - start, 1)
            return start + change

        return nets.merged(of.members, rule, of.test_inputs if self.recalibrate else None)

    def _learned(self, of: Fusing, names: list[str]) -> Tensor:
        """One lambda per tensor and member, (names, members)."""
        assert of.trainer is not None
        assert of.test_inputs is not None
        x, base, states = of.test_inputs, nets.base_state(of), nets.states_of(of.members)
        device = of.members[0].net.head.weight.device
        changes = [torch.stack([state[name] - base[name] for state in states]) for name in names]
        lambdas = torch.full((len(names), len(states)), self.start, device=device, requires_grad=True)
        adam, net = torch.optim.Adam([lambdas], lr=self.lr), copy.deepcopy(of.members[0].net).eval()
        for layer in nets.norm_layers(net):
            layer.train()
        with nets.statistics_kept(net):
            for _ in range(of.trainer.budget if self.steps is None else self.steps):
                rows = torch.randperm(len(x), generator=of.rng)[: of.trainer.batch_size].to(x.device)
                moves = [torch.tensordot(w, change, 1) for w, change in zip(lambdas, changes, strict=True)]
                params = {name: base[name] + move for name, move in zip(names, moves, strict=True)}
                logp = called_with(net, params, x[rows].to(device)).log_softmax(-1)
                adam.zero_grad()
                (-(logp.exp() * logp).sum(-1).mean()).backward()  # type: ignore[no-untyped-call]
                adam.step()
        return lambdas.detach()
