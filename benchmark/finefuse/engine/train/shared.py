"""Frozen stages that many jobs push the same examples through: computed by the first, with the bits of each alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from finefuse.declare.keys import address, digest
from finefuse.engine.store.computed import Computed
from finefuse.engine.store.splits import content_of
from finefuse.engine.train.prefix import goes_by_stages
from finefuse.engine.train.structure import Structure, UnclearError, structure_of
from finefuse.nets import CHUNK, Net

WORTH = 2 * 10**7
"""Parameters times examples from which on it takes longer to compute outputs than to look for them."""
log = logging.getLogger("finefuse")


@dataclass(frozen=True)
class SharedStages:
    """The leading stages of the networks of one job that are still those of the `pretrained` one.

    `parts` is all that may change a bit besides stages and examples, and `packages` are those that the network's code
    is in. The address of what such stages give holds these, the structure of the stages, every tensor in them, the
    examples, and how many go through at a time.
    """

    store: Computed
    parts: Mapping[str, str]
    packages: Collection[str]
    pretrained: Net

    def outputs(self, model: nn.Module, x: Tensor, place: Callable[[Tensor], Tensor]) -> Tensor | None:
        """The network's outputs for examples `x`; None where there is nothing to share.

        It is for networks in evaluation mode and without gradients. `place` brings a part of `x` to them.
        """
        if not isinstance(model, Net) or not goes_by_stages(model) or x.device.type != "cpu":
            return None
        frozen = self._frozen(model)
        prefix = nn.Sequential(*model.stages[: len(frozen)])
        if sum(p.numel() for p in prefix.parameters()) * len(x) < WORTH:
            return None
        rest = nn.Sequential(*model.stages[len(frozen) :], model.head)
        ready = self.store.each(self._address(frozen, x), torch.split(x, CHUNK), lambda part: prefix(place(part)))
        return torch.cat([rest(part) for part in ready])

    def _frozen(self, model: Net) -> list[Structure]:
        """The leading stages that compute what those of the pretrained network do, as far as can be told."""
        same = list[Structure]()
        try:
            for one, other in zip(model.stages, self.pretrained.stages, strict=False):
                structure = structure_of(one, self.packages)
                if one is not other and not structure.same(structure_of(other, self.packages)):
                    break
                same.append(structure)
        except UnclearError as why:
            log.debug("a stage of a network is not shared: %s", why)
        return same

    def _address(self, frozen: Sequence[Structure], x: Tensor) -> str:
        stages = [[stage.text, *stage.contents] for stage in frozen]
        examples = [content_of(x), *x.stride()]
        return address({**self.parts, "stages": digest(stages), "examples": digest(examples), "at a time": str(CHUNK)})
