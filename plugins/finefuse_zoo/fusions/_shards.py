"""Dealing the training data out to clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from finefuse import NotApplicable
from finefuse.types import Data

if TYPE_CHECKING:
    from torch import Tensor


def deal(train: Data, clients: int, how: str, rng: torch.Generator) -> list[Tensor]:
    """Row numbers of every client's shard: at random, or two pieces each of the data in the order of its targets."""
    if len(train) < 2 * clients:
        raise NotApplicable(f"{len(train)} training examples are less than two for each of {clients} clients")
    rows = torch.randperm(len(train), generator=rng)
    if how == "iid":
        return list(torch.tensor_split(rows, clients))
    targets = train.y.cpu().reshape(len(train), -1)[:, 0]
    pieces = torch.tensor_split(rows[targets[rows].argsort(stable=True)], 2 * clients)
    dealt = torch.randperm(2 * clients, generator=rng).reshape(clients, 2).tolist()
    return [torch.cat([pieces[one], pieces[other]]) for one, other in dealt]
