"""How long a network takes for a batch: alone, warmed up, until its median is known, and once for each structure."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from finefuse.declare.keys import address
from finefuse.engine.measure.cost import machine_id, synchronise
from finefuse.engine.measure.load import Load, processors
from finefuse.engine.order import Order
from finefuse.engine.precision import mixed_precision
from finefuse.engine.store.artifacts import Artifacts
from finefuse.nets import evaluation
from finefuse.rows import LATENCY, NARROW
from finefuse.types import Record

WARM_UP, WARM_SECONDS = 5, 0.05
"""Calls and seconds before any is timed, whichever takes longer."""
FEWEST, ENOUGH, MOST, SECONDS = 20, 100, 2000, 0.5
"""Timed calls: at least; those after which a median that is known ends it; at most; and seconds that end it."""
GROWTH = 1.5
"""By how much the calls grow between two looks at the interval, so that few looks can end it by chance."""


@dataclass(frozen=True)
class Latency:
    """Seconds per call at one batch size; `within` is half the width of the median's 95 % interval, as a share of it.

    `contended` says that something else took part of the machine meanwhile.
    """

    p50: float
    p95: float
    within: float
    contended: bool


def measure_latency(model: nn.Module, x: Tensor, precision: str) -> Latency:
    """Time forward passes of one batch, after a warm-up, waiting for the device each time.

    It ends when the median is known within `NARROW`, or at a cap; `within` says which.
    """
    taken: list[float] = []
    with evaluation(model), mixed_precision(precision, x.device):
        _warm(model, x)
        before, look = Load.now(), float(ENOUGH)
        start = time.perf_counter()
        while len(taken) < MOST and (len(taken) < FEWEST or time.perf_counter() - start < SECONDS):
            taken.append(_call(model, x))
            if len(taken) >= look:
                look *= GROWTH
                if median_within(taken) <= NARROW:
                    break
        contended = before.contended(Load.now(), processors())
    p50, p95 = np.quantile(taken, [0.5, 0.95]).tolist()
    return Latency(p50, p95, median_within(taken), contended)


def median_within(values: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the median, by order statistics, as a share of the median."""
    ordered, n = np.sort(values), len(values)
    below = math.floor((n - 1.96 * math.sqrt(n)) / 2)
    if below < 1:
        return math.inf
    median = float(np.median(ordered))
    return float(ordered[n - below] - ordered[below - 1]) / 2 / median if median > 0 else math.inf


def latency_fields(model: nn.Module, x: Tensor, order: Order, store: Artifacts) -> Record:
    """The fields of a row that say how long a model takes for batches of the sizes that an order names.

    A network of the same structure that was measured before on this machine, under the same settings and alone, is not
    measured again: equal networks get equal figures. `latency_of` has the cells whose measurements they are. Inputs may
    lie in the host's memory; batches of them are on the order's device before any clock runs.
    """
    settings, device = order.settings, torch.device(order.device)
    form = structure(model, batch_of(x, min(order.latency)).to(device), settings.precision)
    fields: Record = {"machine": machine_id(), "costs": LATENCY, "contended": False, "structure": form}
    about = {"structure": form, "machine": machine_id(), "device": device.type, "costs": str(LATENCY)}
    about |= {name: str(getattr(settings, name)) for name in ("precision", "threads", "tf32", "deterministic")}
    cells: dict[str, None] = {}
    for size in order.latency:
        place = address(about | {"batch": str(size)})
        kept = store.measured(place)
        if kept is None:
            found = measure_latency(model, batch_of(x, size).to(device), settings.precision)
            kept = {"p50": found.p50, "p95": found.p95, "within": found.within, "cell": order.job.cell}
            fields["contended"] |= found.contended
            if not found.contended:
                store.save_measured(place, kept)
        fields |= {f"latency.{size}.{name}": kept[name] for name in ("p50", "p95", "within")}
        cells[kept["cell"]] = None
    return fields | {"latency_of": list(cells)}


def batch_of(x: Tensor, size: int) -> Tensor:
    """A batch of `size` examples, repeating them where there are fewer."""
    return x[torch.arange(size, device=x.device) % len(x)]


def structure(model: nn.Module, x: Tensor, precision: str) -> str:
    """A digest of what a forward pass does, whatever the weights: its operations with shapes, types and layouts.

    The classes of the modules are part of it, since they may do what torch doesn't see.
    """
    with evaluation(model), mixed_precision(precision, x.device), _Operations() as seen:
        model(x)
    for module in model.modules():
        seen.note(f"{type(module).__module__}.{type(module).__qualname__}")
    return str(seen.sha.hexdigest()[:16])


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Digests every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sha = hashlib.sha256()

    def note(self, text: str) -> None:
        self.sha.update(f"{text}\n".encode())

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.note(f"{func} {_form([*args, *sorted((kwargs or {}).items())])}")
        return func(*args, **(kwargs or {}))


def _form(value: Any) -> str:
    """What of an argument tells how long an operation takes: of tensors the form, of numbers only whole ones."""
    if isinstance(value, Tensor):
        strides = value.stride() if value.layout == torch.strided else value.layout
        return f"{value.dtype}{tuple(value.shape)}{strides}{value.device.type}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_form, value))}]"
    return "float" if isinstance(value, float) else repr(value)


def _warm(model: nn.Module, x: Tensor) -> None:
    start, calls = time.perf_counter(), 0
    while calls < WARM_UP or time.perf_counter() - start < WARM_SECONDS:
        _call(model, x)
        calls += 1


def _call(model: nn.Module, x: Tensor) -> float:
    start = time.perf_counter()
    model(x)
    synchronise(x.device)
    return time.perf_counter() - start
