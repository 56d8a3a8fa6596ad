"""Schemes that stay close to the pretrained network: `gentle-teacher` and `bottleneck`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge, Gt, Lt

from finefuse import Entry, hookimpl
from finefuse.types import Batch, Scheme, Tuning

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse.nets import Net


@dataclass(frozen=True)
class MeanTeacher:
    """Train on L + weight ||p_student - p_teacher||^2 / n + alpha/2 ||w - w0||^2; the teacher is what is deployed.

    The teacher is a moving average of the student, its BatchNorm statistics too (Tarvainen & Valpola 2017, arXiv
    1703.01780), and sees features with noise. p are probabilities, or regressed values. w are the weights of the
    backbone and w0 their pretrained values (L2-SP, Li et al. 2018, arXiv 1802.01483), in place of weight decay.
    """

    decay: Annotated[float, Ge(0), Lt(1)] = 0.95
    """Of the average; less in the first steps, in which it is the plain mean of all weights so far."""
    weight: Annotated[float, Ge(0)] = 1.0
    noise: Annotated[float, Ge(0)] = 0.1
    """Standard deviation of the teacher's noise, as a share of that of its features."""
    alpha: Annotated[float, Ge(0)] = 0.01
    lr: Annotated[float, Gt(0)] | None = None

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, and the teacher in place of the last weights."""
        teacher = copy.deepcopy(on.model).eval()
        anchors = pretrained_values(on)
        steps = 0

        def opinion(outputs: Tensor) -> Tensor:
            return outputs.softmax(-1) if on.task.classes else outputs

        def loss(outputs: Tensor, batch: Batch) -> Tensor:
            with torch.no_grad():
                features = teacher.features(batch.x)
                drawn = torch.randn(features.shape, generator=on.rng, device=on.rng.device).to(features)
                target = opinion(teacher.head(features + self.noise * features.std() * drawn))
            distance = (opinion(outputs) - target).square().sum(-1).mean()
            return on.task.loss(outputs, batch.y) + self.weight * distance

        def penalty(_model: nn.Module, _batch: Batch) -> Tensor:
            return self.alpha / 2 * torch.stack([(p - w0).square().sum() for p, w0 in anchors.items()]).sum()

        def after_step(_optimizer: torch.optim.Optimizer) -> None:
            nonlocal steps
            steps += 1
            follow(teacher, on.model, min(self.decay, 1 - 1 / (steps + 1)))

        groups = [{"params": on.model.parameters(), "lr": self.lr or on.model.recipe.lr, "weight_decay": 0.0}]
        on.trainer.fit(on.model, groups, loss=loss, penalty=penalty, after_step=after_step)
        on.model.load_state_dict(teacher.state_dict())


def pretrained_values(on: Tuning) -> Mapping[nn.Parameter, Tensor]:
    """The parameters of the backbone with their pretrained values; the head is new and has none."""
    known = dict(on.pretrained.stages.named_parameters())
    return {p: known[name].detach().clone() for name, p in on.model.stages.named_parameters() if name in known}


def follow(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """Move the teacher towards the student; what is no number of its own, such as a count of batches, is copied."""
    with torch.no_grad():
        for ours, theirs in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True):
            if ours.is_floating_point():
                ours.mul_(decay).add_(theirs, alpha=1 - decay)
            else:
                ours.copy_(theirs)


@dataclass(frozen=True)
class Bottleneck:
    """Leave the backbone frozen and train h + U relu(D h) on its features, and the head (Houlsby et al. 2019).

    arXiv 1902.00751, which has one in every layer. D (width / reduction, width), and U starts at 0.
    """

    reduction: Annotated[int, Ge(1)] = 4
    lr: Annotated[float, Gt(0)] | None = None

    def prepare(self, model: Net) -> None:
        """Put the bottleneck on top of the features."""
        width = model.head.in_features
        model.stages.append(residual(width, max(1, width // self.reduction)))

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, which evaluates the frozen backbone once."""
        parameters = [*on.model.stages[-1].parameters(), *on.model.head.parameters()]
        lr = self.lr or on.model.recipe.lr_of_head
        on.trainer.fit(on.model, [{"params": parameters, "lr": lr}], optimizer="adam")


def residual(width: int, inner: int) -> nn.Module:
    """A module that computes h + U relu(D h)."""

    class Residual(torch.nn.Sequential):
        def forward(self, features: Tensor) -> Tensor:
            return features + super().forward(features)

    layers = torch.nn.Linear(width, inner), torch.nn.ReLU(), torch.nn.Linear(inner, width)
    torch.nn.init.zeros_(layers[-1].weight)
    torch.nn.init.zeros_(layers[-1].bias)
    return Residual(*layers)


@hookimpl
def finefuse_schemes() -> Iterator[Entry[Scheme]]:
    """Make both known to finefuse."""
    yield Entry("gentle-teacher", MeanTeacher, "a student that follows the moving average of itself")
    yield Entry("bottleneck", Bottleneck, "a residual bottleneck on top of frozen features")
