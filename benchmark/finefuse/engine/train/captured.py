"""Whole steps as CUDA graphs: captured once, and replayed where that is faster and leaves the same bits.

What depends on the batch is copied to fixed places first, and rates lie on the device. The code of a step runs only
while it is captured, so this is for steps that are the trainer's alone: no method has a say in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from finefuse.engine.measure.effort import Effort
from finefuse.errors import one_line
from finefuse.network import Net
from finefuse.types import Batch

MODE = "cuda-graphs"
"""What a suite calls this, among the ways to compile."""
WARM, TRIED, FEWEST = 3, 3, 20
"""Steps before one is captured, steps then taken both ways, and the fewest that are worth it."""
Take = Callable[[Tensor, Batch], None]
State = list[Tensor]


class Graphs(Protocol):
    """What captures steps on a device, and waits for it."""

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """What does all that the step launches, without its code; nothing of it is done now."""

    def wait(self) -> None:
        """Until the device has done all that it was given."""


class CudaGraphs:
    """Those of CUDA, on the current device."""

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """See `Graphs`; other threads may go on using CUDA meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
        return graph.replay

    def wait(self) -> None:
        """See `Graphs`."""
        torch.cuda.synchronize()


@dataclass
class Captures:
    """What was replayed in all phases of a training, and why the rest was not; `seconds` are those spent on trying."""

    graphs: Graphs = field(default_factory=CudaGraphs)
    replayed: int = 0
    seconds: float = 0.0
    reasons: dict[str, None] = field(default_factory=dict)

    def phase(
        self, take: Take, model: nn.Module, optimizer: torch.optim.Optimizer, effort: Effort, why_not: str
    ) -> Take:
        """How the steps of one phase are taken: by `take`, if there is a reason `why_not` or one is found."""
        if why_not:
            self.reasons[why_not] = None
            return take
        keep_on_device(optimizer)
        return _Phase(self, take, model, optimizer, effort).step


def why_eager(model: nn.Module, given: Mapping[str, Any], settings: Mapping[str, bool], steps: int) -> str:
    """Why steps can't be replayed; "" if they may be.

    `given` is what the method gives the trainer beside the network, by name, and `settings` those under which no step
    is like another.
    """
    if own := [name for name, value in given.items() if value is not None]:
        return f"the method has its own {' and '.join(own)}"
    if unlike := [name for name, on in settings.items() if on]:
        return f"not with {' and '.join(unlike)}"
    if not isinstance(model, Net) or any(map(_has_its_own_way, model.modules())):
        return "the network has hooks or a way forward of its own"
    return "" if steps >= FEWEST else f"fewer than {FEWEST} steps"


def _has_its_own_way(module: nn.Module) -> bool:
    """Whether this object, and not its class alone, says what happens in it."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)


def keep_on_device(optimizer: torch.optim.Optimizer) -> None:
    """Rates, which a schedule changes, are read from where they lie at every replay; eager steps take the same ones."""
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(float(group["lr"]), device=group["params"][0].device)
        if "capturable" in group:
            group["capturable"] = True


class _Phase:
    """The steps of one call of `fit`."""

    def __init__(
        self, captures: Captures, take: Take, model: nn.Module, optimizer: torch.optim.Optimizer, effort: Effort
    ) -> None:
        self._captures, self._take, self._effort = captures, take, effort
        self._model, self._optimizer = model, optimizer
        self._weights = [p for group in optimizer.param_groups for p in group["params"]]
        self._begun = 0
        self._inputs: tuple[Tensor, Batch] | None = None
        self._replay: Callable[[], None] | None = None
        self._gradients: Sequence[Tensor | None] = ()
        self._seconds: dict[str, list[float]] = {"eager": [], "replayed": []}
        self._eager = False

    def step(self, x: Tensor, batch: Batch) -> None:
        """Take one step, whichever way."""
        self._begun += 1
        if self._eager or self._begun <= WARM:
            return self._take(x, batch)
        self._put(x, batch)
        if self._replay is not None and self._begun > WARM + TRIED:
            return self._replayed(self._replay)
        began = perf_counter()
        self._try_both()
        self._captures.seconds += perf_counter() - began
        return None

    def _put(self, x: Tensor, batch: Batch) -> None:
        """Bring a batch to where the captured step expects it."""
        if self._inputs is None:
            kept = x.clone()
            self._inputs = kept, Batch(batch.y.clone(), batch.rows.clone(), lambda: kept)
            return
        there, usual = self._inputs
        for place, content in ((there, x), (usual.y, batch.y), (usual.rows, batch.rows)):
            place.copy_(content)

    def _on_inputs(self) -> None:
        assert self._inputs is not None
        self._take(*self._inputs)

    def _replayed(self, replay: Callable[[], None]) -> None:
        replay()
        self._effort.gradients += 1
        self._captures.replayed += 1

    def _try_both(self) -> None:
        """Take one step both ways from one state, and time both; replay no more if other bits come of it."""
        before = self._state()
        if self._replay is None and not self._captured(before):
            return self._on_inputs()
        assert self._replay is not None
        self._timed("eager", self._on_inputs)
        after = self._state()
        self._restore(before)
        self._timed("replayed", self._replay)
        if not all(map(torch.equal, after, self._state())):
            self._restore(after)
            return self._give_up("a replayed step leaves other bits")
        if self._begun == WARM + TRIED:
            self._decide()
        return None

    def _captured(self, before: State) -> bool:
        counted = self._effort.gradients
        try:
            self._replay = self._captures.graphs.capture(self._on_inputs)
        except Exception as error:  # of CUDA, torch or the network: what can't be captured says so in many ways
            self._give_up(f"a step can't be captured: {one_line(error)}")
        self._gradients = [p.grad for p in self._weights]
        self._effort.gradients = counted
        self._restore(before)
        return self._replay is not None

    def _timed(self, way: str, step: Callable[[], None]) -> None:
        self._captures.graphs.wait()
        began = perf_counter()
        step()
        self._captures.graphs.wait()
        self._seconds[way].append(perf_counter() - began)

    def _decide(self) -> None:
        eager, replayed = (median(self._seconds[way]) for way in ("eager", "replayed"))
        if replayed >= eager:
            return self._give_up("replaying is no faster")
        for p, gradient in zip(self._weights, self._gradients, strict=True):
            p.grad = gradient  # where the replayed steps write it
        return None

    def _give_up(self, why: str) -> None:
        self._captures.reasons[why] = None
        self._eager, self._replay, self._gradients = True, None, ()

    def _tensors(self) -> State:
        """All that a step writes to."""
        state = [one for kept in self._optimizer.state.values() for one in kept.values() if isinstance(one, Tensor)]
        return [*self._weights, *self._model.buffers(), *state]

    def _state(self) -> State:
        """A copy of it, with the state of torch's generators at the end."""
        return [*(one.detach().clone() for one in self._tensors()), torch.get_rng_state(), torch.cuda.get_rng_state()]

    @torch.no_grad()
    def _restore(self, state: State) -> None:
        for one, content in zip(self._tensors(), state, strict=False):
            one.copy_(content)
        torch.set_rng_state(state[-2])
        torch.cuda.set_rng_state(state[-1])
