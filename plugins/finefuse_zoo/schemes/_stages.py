"""What schemes that go by stages have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finefuse import NotApplicable

if TYPE_CHECKING:
    from torch import nn

    from finefuse.nets import Net


def parts_of(model: Net, scheme: str) -> list[nn.Module]:
    """The stages, and the head as the last.

    Raises:
        NotApplicable: if the network is one single stage, because then the scheme is another one by its name.
    """
    if len(model.stages) == 1:
        raise NotApplicable(f"{scheme} works stage by stage, and the network has a single stage")
    return [*model.stages, model.head]
