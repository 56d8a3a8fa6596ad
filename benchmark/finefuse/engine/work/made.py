"""What a job made, what it took, and what of it is stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from finefuse.engine.measure.cost import Stopwatch
from finefuse.engine.train.compiled import MODES
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.engine.work.given import given_of
from finefuse.engine.work.workbench import Workbench
from finefuse.errors import PluginError
from finefuse.memory import leave_given
from finefuse.rows import COSTS, told
from finefuse.types import Fusing, Record, Tuning


@dataclass(frozen=True)
class Made:
    """What a job made, and what it took."""

    model: nn.Module
    trainer: SuiteTrainer
    watch: Stopwatch
    trainable: int
    others: Sequence[SuiteTrainer] = ()
    """The trainers of the stages that follow a fusion."""


def cost_of(bench: Workbench, watch: Stopwatch, *trainers: SuiteTrainer) -> Record:
    """What was measured while a strategy was at work, with its trainer and those of the stages after it."""
    energy, compiles = watch.energy, bench.order.settings.compile in MODES
    scales = [trainer.scale for trainer in trainers if trainer.scale]
    bills = [trainer.bill for trainer in trainers]
    for bill in bills:
        energy = energy.plus(bill.off_energy, -1).plus(bill.on_energy)
    on, shared = sum(bill.on for bill in bills), sum(bill.shared for bill in bills)
    return {
        "seconds": watch.seconds + on - sum(bill.off for bill in bills),
        "cpu_seconds": watch.cpu_seconds + sum(bill.on_cpu - bill.off_cpu for bill in bills),
        "peak_memory": watch.peak_memory,
        "steps": sum(trainer.spent for trainer in trainers) + bench.effort.own_steps,
        "gradients": bench.effort.gradients,
        "pieces": max(leave_given().pieces, *(trainer.pieces for trainer in trainers)),
        "costs": COSTS,
        **({"seconds_compiling": sum(one.compiled.seconds for one in trainers)} if compiles else {}),
        **_captured(trainers),
        **({"skipped_steps": sum(scale.skipped for scale in scales)} if scales else {}),
        **({"seconds_shared": shared} if shared else {}),
        "contended": watch.contended or any(bill.contended for bill in bills),
        **energy.fields(watch.seconds + on, alone=watch.alone and all(bill.alone for bill in bills)),
    }


def _captured(trainers: Sequence[SuiteTrainer]) -> Record:
    """What became of steps as CUDA graphs."""
    found = [trainer.captures for trainer in trainers if trainer.captures is not None]
    reasons = dict.fromkeys(why for captures in found for why in captures.reasons)
    replayed, seconds = sum(one.replayed for one in found), sum(one.seconds for one in found)
    told = {"steps_replayed": replayed, "not_replayed": "; ".join(reasons), "seconds_compiling": seconds}
    return told if found else {}


@contextmanager
def billed(bench: Workbench, bill: Record | None, trainers: Sequence[SuiteTrainer]) -> Iterator[Stopwatch]:
    """Time a fusion and its stages, with their trainers; `bill` gets what it cost, even if nothing comes of it."""
    watch = Stopwatch(bench.order.device)
    try:
        with watch:
            yield watch
    finally:
        if bill is not None:
            bill.update(cost_of(bench, watch, *trainers))


def bill_of(metas: Sequence[Record], alone: bool) -> Record:
    """What the members cost, with the rounds before; nothing for a fusion that makes its own."""
    members = 0.0 if alone else sum(float(meta["seconds"]) for meta in metas)
    before = max(float(meta.get("seconds_before", 0)) for meta in metas)
    return {"seconds_members": members + before, **({} if alone else given_of(metas))}


def choices_of(of: Fusing) -> Record:
    """What a fusion says that it chose on val.

    Raises:
        PluginError: if that is not a number by name, and whether it is at the edge.
    """
    for name, choice in of.choices.items():
        pair = isinstance(choice, tuple) and len(choice) == 2
        if not isinstance(name, str) or not pair or type(choice[0]) not in (int, float) or type(choice[1]) is not bool:
            raise PluginError(f"the choice {told(name)} is {told(choice)}; a number and True or False were expected")
    chosen = {name: value for name, (value, _) in of.choices.items()}
    return {"chosen": chosen, "at_edge": [n for n, (_, edge) in of.choices.items() if edge]} if chosen else {}


def to_store(net: nn.Module) -> dict[str, Tensor]:
    """A network's weights as they are stored."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()}


def figures_of(on: Tuning) -> Record:
    """What a scheme reports of itself, as fields of its row.

    Raises:
        PluginError: if one of its figures is no number.
    """
    for name, value in on.figures.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not isinstance(name, str) or not number or math.isinf(value):
            raise PluginError(f"the figure {told(name)} is {told(value)}; a finite number or NaN was expected")
    return {f"figure.{name}": value for name, value in on.figures.items()}
