"""The one training loop.

It owns the budget, the schedule, the order of the data, mixed precision and the accounting, and detects which
leading stages are frozen: these are evaluated once and cached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from finefuse.engine.measure.bill import Bill
from finefuse.engine.measure.effort import Effort
from finefuse.engine.precision import as_memory_format, mixed_precision
from finefuse.engine.train.asked import must_take, some_rows
from finefuse.engine.train.augment import Change
from finefuse.engine.train.batches import Rows, batch_order
from finefuse.engine.train.captured import MODE, Captures, Take, why_eager
from finefuse.engine.train.checkpoints import Curve
from finefuse.engine.train.compiled import Compiled
from finefuse.engine.train.examples import Examples
from finefuse.engine.train.prefix import by_example, frozen_stages
from finefuse.engine.train.retry import fewest, undoing
from finefuse.engine.train.scale import LossScale
from finefuse.engine.train.schedule import scheduled
from finefuse.engine.train.shared import SharedStages
from finefuse.engine.train.trained import listed, only_these_train
from finefuse.errors import BudgetError, NotApplicable, out_of_memory
from finefuse.memory import release
from finefuse.nets import CHUNK, Net, evaluation, make_optimizer, uploaded
from finefuse.types import Batch, Budget, Data, Loss, NormPolicy, OptimizerChoice, Penalty, Recipe, Task

CACHE_BYTES = 2 * 1024**3
"""Cached activations of a frozen prefix may take this much; beyond it the prefix is evaluated batch by batch."""
AHEAD = 64
"""Batches whose row numbers go to the device at once, because a GPU is waited for each time."""


class SuiteTrainer:
    """Trains on one set of examples within one budget; see `finefuse.types.Trainer` for what schemes may rely on."""

    def __init__(
        self,
        task: Task,
        data: Data,
        budget: Budget,
        *,
        seed: int,
        precision: str = "fp32",
        channels_last: bool = False,
        augment: Change | None = None,
        compile_mode: str = "off",
        accumulate: bool = False,
        cache_bytes: int = CACHE_BYTES,
        effort: Effort | None = None,
    ) -> None:
        self._budget = budget.steps or max(1, math.ceil(budget.epochs * len(data) / budget.batch_size))
        self._batch_size, self._spent = budget.batch_size, 0
        self.effort = effort or Effort()
        self.bill = Bill()
        self.curve: Curve | None = None
        self.shared: SharedStages | None = None
        """What frozen stages give for examples, where this job may share it with others."""
        self.rate: float | None = None
        """The largest learning rate that the last phase began with; None before there was one."""
        self._steps, self._extra, self._checkpoints = 0, 0, frozenset[int]()
        self._trained: dict[int, nn.Parameter] = {}
        self._data, self._device = data, data.y.device
        self._examples = Examples(data.x, self._device)
        self._task, self._schedule, self._seed = task, budget.schedule, seed
        self.generators: Sequence[torch.Generator] = ()
        """What the strategy draws from, so that a step can be taken back."""
        self.pieces = 1
        """In how many parts a batch is gone through; two after the device ran out of memory, if that is allowed."""
        self._augment, self._accumulate, self.compiled = augment, accumulate, Compiled(compile_mode)
        self.captures = Captures() if compile_mode == MODE else None
        """What became of steps as CUDA graphs, where the suite asks for them."""
        self.scale = LossScale(self._device) if precision == "fp16" else None
        """What keeps gradients within float16, where that is what is computed in."""
        self._precision, self._channels_last, self._cache_bytes = precision, channels_last, cache_bytes
        self._order = batch_order(len(data), budget.batch_size, seed)

    @property
    def budget(self) -> int:
        """Optimizer steps that all calls of `fit` together may take."""
        return self._budget

    @property
    def batch_size(self) -> int:
        """Examples per step."""
        return self._batch_size

    @property
    def spent(self) -> int:
        """Steps paid for so far; one that evaluates the gradient twice costs two."""
        return self._spent

    def require_budget_kept(self) -> None:
        """Refuse what was trained with more steps than the budget holds, in the trainer's loop or any other.

        Raises:
            BudgetError: in one sentence.
        """
        self.effort.require_within(self.budget, self.spent)

    @property
    def taken(self) -> int:
        """Steps that were really taken, counted as `spent` is: fewer than that where training broke off."""
        return self._steps

    @property
    def augments(self) -> bool:
        """Whether training inputs are changed at random."""
        return self._augment is not None

    def watch_with(self, curve: Curve, count: int) -> None:
        """Look at the network `count` times within the budget, evenly spread."""
        self.curve = curve
        self._checkpoints = frozenset(round(self.budget * i / count) for i in range(1, count + 1)) - {0}

    def fit(
        self,
        model: nn.Module,
        groups: Iterable[Mapping[str, Any]],
        *,
        steps: int | None = None,
        optimizer: OptimizerChoice | None = None,
        penalty: Penalty | None = None,
        loss: Loss | None = None,
        after_step: Callable[[torch.optim.Optimizer], None] | None = None,
        norm: NormPolicy = "train",
        rows: Tensor | None = None,
    ) -> None:
        """Train the parameters in `groups`; see `finefuse.types.Trainer.fit`."""
        must_take("loss", loss, ("outputs", "batch"))
        must_take("penalty", penalty, ("model", "batch"))
        some_rows(rows)
        steps = self._take(steps)
        wanted = listed(groups, model, norm)
        if not steps or not wanted:
            return
        recipe = model.recipe if isinstance(model, Net) else Recipe()
        tuned = [p for group in wanted for p in group["params"]]
        self._trained.update({id(p): p for p in tuned})
        with only_these_train(model, tuned, norm), self._own_randomness(), ExitStack() as while_training:
            inputs, rest = self._frozen_prefix(model, {id(p) for p in tuned})
            rest = while_training.enter_context(self.compiled.compiling(rest))
            choice = optimizer or recipe.optimizer
            optimizer_ = choice(wanted) if callable(choice) else make_optimizer(wanted, choice, recipe)
            self.rate = max(float(group["lr"]) for group in optimizer_.param_groups)
            schedule = scheduled(optimizer_, self._schedule, steps)
            step = self._eager(model, optimizer_, rest, loss, penalty)
            if self.captures is not None:
                own = {"loss": loss, "penalty": penalty, "optimizer": optimizer if callable(optimizer) else None}
                step = self.captures.phase(step, model, optimizer_, self.effort, self._why_eager(model, own, steps))
            batches = while_training.enter_context(self._examples.ahead(self._next_batches(steps, rows)))
            for positions in batches:
                x, batch = inputs(positions)
                if loss and self._task.mixes and batch.y.is_floating_point():
                    raise NotApplicable("the suite mixes labels, and this method has a loss of its own that can't")
                step(x, batch)
                if after_step is not None:
                    after_step(optimizer_)  # before the schedule moves on: it sees the rates of this step
                schedule.step()
                self._stepped(model)
        if self.scale:
            self.scale.refuse_divergence()
        if not torch.stack([p.isfinite().all() for p in tuned]).all():  # a GPU is waited for once
            raise FloatingPointError(f"training diverged: weights are not finite after {steps} steps")

    def scored(self, model: nn.Module, x: Tensor) -> Tensor:
        """The same as `outputs`, for what is not billed: what frozen stages give is computed once for all jobs."""
        with evaluation(model), mixed_precision(self._precision, self._device):
            found = self.shared.outputs(model, x, self._placed) if self.shared else None
        return self.outputs(model, x) if found is None else found.float()

    def features(self, model: Net, x: Tensor) -> Tensor:
        """What the head sees, (N, width), in evaluation mode."""
        with evaluation(model):
            ready = self._ready(model, len(model.stages), x)
        return self._evaluate(model, model.features, x) if ready is None else ready.float()

    def outputs(self, model: nn.Module, x: Tensor) -> Tensor:
        """The network's outputs, (N, outputs), in evaluation mode."""
        return self._evaluate(model, model, x)

    @property
    def trainable(self) -> int:
        """Number of parameters that have been trained so far."""
        return sum(p.numel() for p in self._trained.values())

    def _evaluate(self, model: nn.Module, call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        with evaluation(model), mixed_precision(self._precision, self._device):
            return self._eased(lambda part: call(self._placed(part)), x, CHUNK).float()

    def _ready(self, model: Net, depth: int, x: Tensor) -> Tensor | None:
        """What the first stages give for all of `x` where jobs share it, billed as if this one had computed it."""
        with mixed_precision(self._precision, self._device):
            return self.shared.billed(model, depth, x, self._placed, self.bill) if self.shared else None

    def _placed(self, x: Tensor) -> Tensor:
        """A batch of inputs, which may lie in a file or in the host's memory, as the network wants it."""
        return as_memory_format(x.to(self._device), self._channels_last)

    def _take(self, steps: int | None) -> int:
        left = self.budget - self.spent
        if steps is None:
            steps = left
        if not (steps >= 0 and steps % 1 == 0):
            raise ValueError(f"steps must be a whole number from 0, not {steps!r}")
        if steps > left:
            raise BudgetError(f"asked for {steps} steps, but {left} of {self.budget} are left")
        self._spent += steps
        return steps

    def _stepped(self, model: nn.Module) -> None:
        """Look at the network once as many gradients have been paid for as a checkpoint says."""
        before, self._steps = self._steps, self._steps + 1 + self._extra
        self._extra = 0
        if self.curve is not None and not self._checkpoints.isdisjoint(range(before + 1, self._steps + 1)):
            with self.bill.leaving_out(str(self._device)):
                self.curve.look(model, self._steps)

    def _eager(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        rest: Callable[[Tensor], Tensor],
        loss: Loss | None,
        penalty: Penalty | None,
    ) -> Take:
        """What takes a step with a batch."""

        def take(x: Tensor, batch: Batch) -> None:
            def value_of(part: slice) -> Tensor:
                with mixed_precision(self._precision, batch.rows.device):
                    value = (loss or self._usual_loss)(rest(x[part]).float(), some := batch.part(part))
                    return value if penalty is None else value + penalty(model, some)

            self._take_step(model, optimizer, value_of, len(batch.rows))

        return take

    def _why_eager(self, model: nn.Module, own: Mapping[str, Any], steps: int) -> str:
        on_processor, half = self._device.type != "cuda", self.scale is not None
        unlike = {"a processor": on_processor, "accumulate": self._accumulate, "float16": half}
        return why_eager(model, own, unlike, steps)

    def _take_step(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, value_of: Callable[[slice], Tensor], size: int
    ) -> None:
        """A step; the first is tried once more in halves where the optimizer's own state finds no memory."""

        def step() -> None:
            with self.effort.not_own():
                closure = self.effort.own_again(self._gradients(model, optimizer, value_of, size))
                self.scale.step(optimizer, closure) if self.scale else optimizer.step(closure)

        if not self._accumulate or self.pieces > 1 or optimizer.state:
            return step()
        undo = undoing(model, self._device, self.generators)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        versions = [p._version for p in parameters]
        try:
            return step()
        except Exception as error:
            if self.pieces > 1 or not out_of_memory(error) or versions != [p._version for p in parameters]:
                raise
            release(error, optimizer, self._device)
        undo()
        optimizer.state.clear()
        self.pieces = 2
        return step()

    def _gradients(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, value_of: Callable[[slice], Tensor], size: int
    ) -> Callable[[], float]:
        """The closure of one step; an optimizer that calls it again pays with another step of the budget."""
        calls = 0

        def closure() -> float:
            nonlocal calls
            calls += 1
            if calls > 1:
                self._extra += self._take(1)
            divisible = self._accumulate and size >= 2 * fewest(model)
            if not divisible or self.pieces > 1:
                pieces = self.pieces if divisible else 1
                return self._descend(optimizer, value_of, size, pieces)
            undo = undoing(model, self._device, self.generators)
            try:
                return self._descend(optimizer, value_of, size, 1)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                release(error, optimizer, self._device)
            undo()  # out here, where nothing refers to the error and what it held any more
            self.pieces = 2
            return self._descend(optimizer, value_of, size, 2)

        return closure

    def _descend(
        self, optimizer: torch.optim.Optimizer, value_of: Callable[[slice], Tensor], size: int, pieces: int
    ) -> float:
        """The loss of a batch, and its gradient, from so many parts."""
        optimizer.zero_grad(set_to_none=True)
        step = math.ceil(size / pieces)
        total: Any = 0.0
        for start in range(0, size, step):
            part = slice(start, min(start + step, size))
            value = value_of(part) * ((part.stop - part.start) / size) if pieces > 1 else value_of(part)
            with self.effort.not_own():
                (self.scale.of(value) if self.scale else value).backward()  # type: ignore[no-untyped-call]
            total = total + value.detach() if pieces > 1 else value
        if self.scale:
            self.scale.unscale(optimizer)
        return total  # type: ignore[no-any-return]

    def _usual_loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return self._task.loss(outputs, batch.y)

    def _next_batches(self, steps: int, only: Tensor | None) -> Iterator[Rows]:
        """Row numbers of batches; of some of the examples alone in an order that depends on them and on the step."""
        order = self._order
        if only is not None:
            chosen = only.cpu()
            order = (chosen[rows] for rows in batch_order(len(only), self.batch_size, self._seed + self.spent))
        for done in range(0, steps, AHEAD):
            ahead = torch.stack([next(order) for _ in range(min(AHEAD, steps - done))])
            yield from map(Rows, ahead, uploaded(ahead, self._device))

    @contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Dropout and its like draw from torch's global generators: seed them here, and put them back afterwards."""
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            torch.manual_seed((self._seed + self.spent) % 2**63)
            yield

    def _frozen_prefix(
        self, model: nn.Module, tuned: set[int]
    ) -> tuple[Callable[[Rows], tuple[Tensor, Batch]], Callable[[Tensor], Tensor]]:
        """Split a network at its first trained stage: how to get a batch up to there, and what remains to be run."""
        frozen = frozen_stages(model, tuned)
        if not isinstance(model, Net) or not frozen:
            return self._batch, model
        x, y = self._data.x, self._data.y
        prefix = nn.Sequential(*model.stages[:frozen])
        rest = nn.Sequential(*model.stages[frozen:], model.head)

        def run_prefix(x: Tensor) -> Tensor:
            with torch.no_grad(), mixed_precision(self._precision, self._device):
                return prefix(self._placed(x))  # type: ignore[no-any-return]

        def run_batch(rows: Rows) -> tuple[Tensor, Batch]:
            inputs, batch = self._batch(rows)
            return self._eased(run_prefix, inputs, len(inputs)), batch

        example = by_example(run_prefix, x)
        if example is None:
            return self._batch, model
        if self._augment is not None or example.nbytes * len(x) > self._cache_bytes:
            return run_batch, rest
        try:
            ready = self._ready(model, frozen, x)
            cached = self._eased(run_prefix, x, CHUNK) if ready is None else ready
        except Exception as error:
            if not self._accumulate or not out_of_memory(error):
                raise
            release(error, None, self._device)
            return run_batch, rest
        return lambda rows: (cached[rows.here], Batch(y[rows.here], rows.here, lambda: self._inputs(rows))), rest

    def _eased(self, prefix: Callable[[Tensor], Tensor], x: Tensor, size: int) -> Tensor:
        """What comes of these inputs, `size` at a time, or fewer where memory runs out and that is allowed."""
        while True:
            try:
                return torch.cat([prefix(part) for part in torch.split(x, size)])
            except Exception as error:
                size = min(size, len(x)) // 2
                if not self._accumulate or not size or not out_of_memory(error):
                    raise
                release(error, None, self._device)

    def _inputs(self, rows: Rows) -> Tensor:
        return self._placed(self._examples.read(rows))

    def _batch(self, rows: Rows) -> tuple[Tensor, Batch]:
        """Inputs as the network wants them, changed at random where the suite says so, and the batch they make."""
        inputs, targets = self._examples.read(rows), self._data.y[rows.here]
        if self._augment is not None:
            inputs, targets = self._augment(inputs, targets)
        placed = self._placed(inputs)
        return placed, Batch(targets, rows.here, lambda: placed)
