"""A learned gate over the bodies of several tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from annotated_types import Gt

from finefuse import nets
from finefuse.types import Fusing, Law, Level, Need, Space
from finefuse_zoo.linear import fit_linear

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TaskGate:
    """Sends every input through the body of the task it seems to come from, without being told which (2402.00433).

    The gate is a multinomial logistic regression on phi(x), the features of the network that all members started from,
    which tells the tasks apart: fitted on the training inputs of all tasks, at `C` as in `linear-probe`, its biases
    lessened by the logarithm of each task's share of the examples, so that a larger task gains nothing. `routing`
    "hard" takes the one body that is likeliest, "soft" sum_t p(t|x) h_t(x), for which all bodies run; the head of the
    task at hand answers. All bodies are carried, and the first network's too: it runs for every input. Tang et al. 2024
    mix weights instead, layer by layer. Of several members of a task the best on val stands for it, and if all share a
    task, it is the answer. Checked against scikit-learn's `LogisticRegression`; inputs that are told apart without
    error get the outputs of `own-members`.
    """

    C: Annotated[float, Gt(0)] = 1.0
    routing: Literal["hard", "soft"] = "hard"
    space: ClassVar[Space] = {"C": {"low": 1e-3, "high": 1e3, "log": True}}
    level: ClassVar[Level] = "feature"
    needs: ClassVar[tuple[Need, ...]] = ("val", "train", "base", "trainer")
    except_for: ClassVar[tuple[Law, ...]] = ("order",)
    many_tasks: ClassVar[bool] = True

    def fuse(self, of: Fusing) -> nn.Module:
        """The members' bodies behind one gate, with a head for each task."""
        from finefuse_zoo.fusions._routing import Router

        groups = nets.by_task(of.members)
        best = [max(group, key=lambda member: member.score) for group in groups]
        if len(best) == 1:
            return best[0].net
        features = [of.trainer.features(of.base, member.train.x) for member in best]
        counts = torch.tensor([len(one) for one in features])
        tasks = torch.repeat_interleave(torch.arange(len(best)), counts).to(features[0].device)
        weight, bias = fit_linear(torch.cat(features), tasks, len(best), self.C)
        bias = bias - (counts / counts.sum()).log().to(bias)
        gate = Router(of.base, [member.net for member in best], weight, bias, hard=self.routing == "hard")
        networks = [torch.nn.Sequential(gate, member.net.head) for member in best]
        named = zip(groups, networks, strict=True)
        return nets.ByTask({member.name: network for group, network in named for member in group})
