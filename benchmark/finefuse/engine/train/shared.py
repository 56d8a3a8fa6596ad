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
from finefuse.engine.measure.bill import Bill, Took
from finefuse.engine.measure.cost import Stopwatch, machine_id
from finefuse.engine.store.computed import Computed
from finefuse.engine.store.splits import content_of
from finefuse.engine.train.prefix import concatenates, goes_by_stages
from finefuse.engine.train.structure import Code, Structure, UnclearError, structure_of
from finefuse.nets import CHUNK, CombineFeatures, Net
from finefuse.rows import COSTS
from finefuse.types import Record

WORTH = 10**8
"""Parameters times numbers in the examples from which on it takes longer to compute outputs than to look for them."""
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
        if isinstance(model, Net) and goes_by_stages(model):
            ready = self._ready(model.stages, x, place)
            return None if ready is None else torch.cat([*_through((*ready.rest, model.head), ready.parts)])
        if isinstance(model, CombineFeatures) and concatenates(model) and self.pretrained is None:
            return self._combined(model, x, place)
        return None

    def worth(self, stages: Iterable[nn.Module], x: Tensor) -> bool:
        """Whether it takes long enough to go through the stages, so that it is worth looking for what they give."""
        work = sum(p.numel() for stage in stages for p in stage.parameters()) * x.numel()
        return x.device.type == "cpu" and work >= WORTH

    @torch.no_grad()
    def billed(self, model: Net, depth: int, x: Tensor, place: Place, bill: Bill) -> Tensor | None:
        """What the first stages give for all of `x`; None where they are not shared.

        The bill is that of who computes it alone, whether it is computed or read here.
        """
        if not self.worth(model.stages[:depth], x):
            return None
        with bill.leaving_out("cpu") as watch:
            found = self._whole(model, depth, x, place)
        if found is None:
            return None
        outputs, took, read = found
        bill.put_on(took, watch, read=read)
        return outputs

    def _whole(self, model: Net, depth: int, x: Tensor, place: Place) -> tuple[Tensor, Took, bool] | None:
        """The same, with what it took where it was computed, and whether it was read."""
        stages = [*model.stages[:depth]]
        known = self._known(stages) if goes_by_stages(model) else []
        if len(known) < depth:
            return None
        chunks, prefix = torch.split(x, CHUNK), nn.Sequential(*stages)

        def make() -> tuple[list[Tensor], Record]:
            with Stopwatch("cpu") as watch:
                made = [_placed(place, prefix, part) for part in chunks]
            return made, Took.by(watch).fields

        where = {"stages": digest([[one.text, *one.contents] for one in known]), "examples": _examples(x)}
        billed = {"at a time": str(CHUNK), "machine": machine_id(), "costs": str(COSTS)}
        only_read = self.pretrained is None
        found = self.store.once(address({**self.parts, **where, **billed}), chunks, make, only_read=only_read)
        took = Took.read(found.told) if found is not None else None
        return None if found is None or took is None else (torch.cat([*found.outputs]), took, found.read)

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
        if not self.worth(stages[: len(known)], x):
            return None
        told, examples = [[one.text, *one.contents] for one in known], _examples(x)
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


def _examples(x: Tensor) -> str:
    return digest([content_of(x), *x.stride()])


def _placed(place: Place, prefix: nn.Module, part: Tensor) -> Tensor:
    return prefix(place(part))  # type: ignore[no-any-return]


def _through(stages: Iterable[nn.Module], parts: Iterator[Tensor]) -> Iterator[Tensor]:
    """Each part through the stages."""
    rest = nn.Sequential(*stages)
    return map(rest, parts)
