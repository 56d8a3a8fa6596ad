"""A second head beside the one that is tuned: the pretrained one."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from finefuse.types import Tuning

if TYPE_CHECKING:
    from torch import nn


def source_head(on: Tuning) -> nn.Linear:
    """A copy of the pretrained head to train along, whose outputs give the probabilities of source classes."""
    return copy.deepcopy(on.pretrained.head)
