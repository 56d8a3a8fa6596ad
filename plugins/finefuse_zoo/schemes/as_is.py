"""No fine-tuning at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from finefuse import NotApplicable
from finefuse.types import Tuning


@dataclass(frozen=True)
class AsIs:
    """The pretrained network with its own head, untouched: it shows what a shift of the data costs.

    For backbones whose head has the task's own classes; if the number of outputs differs, it does not apply.
    """

    takes_steps: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("source head",)

    def tune(self, on: Tuning) -> None:
        """Put the source head back."""
        outputs = on.pretrained.head.out_features
        if outputs != on.task.outputs:
            raise NotApplicable(f"the source head has {outputs} outputs, the task {on.task.outputs}")
        on.model.load_state_dict(on.pretrained.state_dict())
