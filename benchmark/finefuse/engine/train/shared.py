"""Frozen stages that many jobs push the same examples through: computed by the first, with the bits of each alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from finefuse.declare.keys import address, digest
from finefuse.engine.store.computed import Computed
from finefuse.engine.store.splits import content_of
from finefuse.engine.train.prefix import concatenates, goes_by_stages
from finefuse.engine.train.structure import Code, Structure, UnclearError, structure_of
from finefuse.nets import CHUNK, CombineFeatures, Net

WORTH = 2 * 10**7
"""Parameters times examples from which on it takes longer to compute outputs than to look for them."""
log = logging.getLogger("finefuse")
Place = Callable[[Tensor], Tensor]


class Ready(NamedTuple):
    """What the leading stages give for one part of the examples after the other, and the stages that remain."""

    parts: Iterator[Tensor]
    rest: Sequence[nn.Module]


@dataclass(frozen=True)
class SharedStages:
    """What leading stages of networks give, by all that it depends on.

    `parts` is what may change a bit besides stages and examples; `code` says what stands for the code of the networks.
    The address holds these, the structure of the stages, every tensor in them, the examples, and how many go through at
    a time. Stages that are still those of the `pretrained` network are computed for all jobs by the first one; without
    it only what is there already is read.
    """

    store: Computed
    parts: Mapping[str, str]
    code: Code
    pretrained: Net | None = None

    def outputs(self, model: nn.Module, x: Tensor, place: Place) -> Tensor | None:
        """A model's outputs for examples `x`; None where there is nothing to share.

        It is for models in evaluation mode and without gradients. `place` brings a part of `x` to them.
        """
        if x.device.type != "cpu":
            return None
        if isinstance(model, Net) and goes_by_stages(model):
            ready = self._ready(model.stages, x, place)
            return None if ready is None else torch.cat([*_through((*ready.rest, model.head), ready.parts)])
        if isinstance(model, CombineFeatures) and concatenates(model) and self.pretrained is None:
            return self._combined(model, x, place)
        return None

    def _combined(self, model: CombineFeatures, x: Tensor, place: Place) -> Tensor | None:
        bodies = [[*body.children()] for body in model.bodies]
        found = [self._ready(body, x, place) for body in bodies]
        if not any(found):
            return None
        features = [
            _through(body, map(place, torch.split(x, CHUNK))) if ready is None else _through(ready.rest, ready.parts)
            for body, ready in zip(bodies, found, strict=True)
        ]
        return torch.cat([model.combine([*parts]) for parts in zip(*features, strict=True)])

    def _ready(self, stages: Iterable[nn.Module], x: Tensor, place: Place) -> Ready | None:
        stages = [*stages]
        known = self._known(stages)
        if sum(p.numel() for stage in stages[: len(known)] for p in stage.parameters()) * len(x) < WORTH:
            return None
        told, examples = [[one.text, *one.contents] for one in known], digest([content_of(x), *x.stride()])
        chunks = torch.split(x, CHUNK)
        for depth in [len(known)] if self.pretrained is not None else range(len(known), 0, -1):
            where = {"stages": digest(told[:depth]), "examples": examples, "at a time": str(CHUNK)}
            compute = partial(_placed, place, nn.Sequential(*stages[:depth]))
            whole = address({**self.parts, **where})
            parts = self.store.each(whole, chunks, compute, only_read=self.pretrained is None)
            if parts is not None:
                return Ready(parts, stages[depth:])
        return None

    def _known(self, stages: Sequence[nn.Module]) -> list[Structure]:
        """The leading stages that can be seen through, and compute what those of the pretrained network do."""
        known = list[Structure]()
        try:
            for number, stage in enumerate(stages):
                structure = structure_of(stage, self.code)
                if self.pretrained is not None and not self._pretrained(number, stage, structure):
                    break
                known.append(structure)
        except UnclearError as why:
            log.debug("a stage of a network is not shared: %s", why)
        return known

    def _pretrained(self, number: int, stage: nn.Module, structure: Structure) -> bool:
        assert self.pretrained is not None
        if number >= len(self.pretrained.stages):
            return False
        other = self.pretrained.stages[number]
        return stage is other or structure.same(structure_of(other, self.code))


def _placed(place: Place, prefix: nn.Module, part: Tensor) -> Tensor:
    return prefix(place(part))  # type: ignore[no-any-return]


def _through(stages: Iterable[nn.Module], parts: Iterator[Tensor]) -> Iterator[Tensor]:
    """Each part through the stages."""
    rest = nn.Sequential(*stages)
    return map(rest, parts)
