"""A small adapter on the features of a frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from finefuse.types import Space, Tuning

if TYPE_CHECKING:
    from finefuse.nets import Net


@dataclass(frozen=True)
class FeatureTune:
    """Train a residual adapter on the features f of the frozen backbone, and the head, by Adam.

    `kind` "mlp" puts f + scale (U relu(D f + c) + d) in the place of f; "conv" does the same to the feature map before
    it is pooled, D being 3x3 and U 1x1, where the last stage has one. `width` is the hidden one. U and d start at zero.
    `lr` None takes the recipe's rate for heads. The adapter stays in the network (Houlsby et al. 2019,
    arXiv 1902.00751, has them inside of transformers).
    """

    kind: Literal["mlp", "conv"] = "mlp"
    width: Annotated[int, Ge(1)] = 64
    scale: Annotated[float, Ge(0)] = 1.0
    lr: Annotated[float, Gt(0)] | None = None
    space: ClassVar[Space] = {"lr": {"low": 1e-4, "high": 0.1, "log": True}}

    def prepare(self, model: Net) -> None:
        """Add the adapter as the last stage."""
        from finefuse_zoo.schemes import _added_modules as added_modules

        add = added_modules.add_mlp_adapter if self.kind == "mlp" else added_modules.add_conv_adapter
        add(model, self.width, self.scale)

    def tune(self, on: Tuning) -> None:
        """One call of the trainer, which evaluates the frozen stages once."""
        params = [*on.model.stages[-1].parameters(), *on.model.head.parameters()]
        on.trainer.fit(
            on.model, [{"params": params, "lr": self.lr or on.model.recipe.lr_of_head}], optimizer="adam", norm="eval"
        )
