"""A small network trained beside a frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Gt, Le

from finefuse import NotApplicable
from finefuse.types import NormPolicy, Space, Tuning

if TYPE_CHECKING:
    from finefuse.nets import Net


@dataclass(frozen=True)
class SideTune:
    """Features alpha B(x) + (1 - alpha) S(x), B the frozen backbone, S a trained side network.

    Side-tuning (Zhang et al. 2020, arXiv 1912.13503). S starts as a copy of the first stages, `share` of them rounded
    up, whose output is averaged over positions and projected to the features' width by a matrix that starts at zero; a
    copy of all stages is not projected. The head and, with `learn`, the logit of alpha are trained as well; an alpha of
    0 or 1 stays. Both networks are deployed. `lr` None takes the recipe's rate for S and alpha, and, as `bitfit`, ten
    times as much under Adam for the projection and the head.
    """

    share: Annotated[float, Gt(0), Le(1)] = 0.5
    alpha: Annotated[float, Ge(0), Le(1)] = 0.5
    learn: bool = True
    lr: Annotated[float, Gt(0)] | None = None
    norm: NormPolicy = "train"
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.3, "log": True}}

    def prepare(self, model: Net) -> None:
        """Make one stage of the backbone and the side network."""
        from finefuse_zoo.schemes import _added_modules as added_modules

        copied = ceil(self.share * len(model.stages))
        stage = added_modules.SideBySide(model.stages, copied, model.head.in_features, self.alpha)
        del model.stages[:]
        model.stages.append(stage)

    def tune(self, on: Tuning) -> None:
        """One call of the trainer."""
        stage: Any = on.model.stages[0]
        if not stage.fits(on.trainer.outputs(stage.side, on.train.x[:1])):
            raise NotApplicable("what the copied stages put out has another width than their last layer")
        recipe = on.model.recipe
        lr, lr_of_new = self.lr or recipe.lr, self.lr or recipe.lr_of_few
        groups = [
            {"params": stage.side.parameters(), "lr": lr},
            {"params": [*stage.project.parameters(), *on.model.head.parameters()], "lr": lr_of_new},
        ]
        if self.learn and 0 < self.alpha < 1:
            groups.append({"params": [stage.logit], "lr": lr, "weight_decay": 0.0})
        on.trainer.fit(on.model, groups, norm=self.norm)
        on.figures["alpha"] = float(stage.logit.detach().sigmoid())
