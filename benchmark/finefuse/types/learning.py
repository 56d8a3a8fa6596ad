"""Data, networks and strategies: what a plugin is given and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from finefuse.types.aggregate import Zero
from finefuse.types.data import Data, Splits, Task
from finefuse.types.entries import Ref, Spec
from finefuse.types.undeclared import Undeclared, undeclared

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from finefuse.network import Net

NormPolicy = Literal["train", "affine", "eval"]
Level = Literal["output", "feature", "weight"]
Law = Literal["one member", "equal members", "order"]
"""The laws that a fusion keeps unless it is `Excepted`."""
Need = Literal["val", "train", "base", "trainer", "test inputs"]
Statistics = Literal["averaged", "shared", "per-task"]
"""BatchNorm's running statistics of a body merged of several tasks: the members' mean, or renewed once, or per task."""
OptimizerChoice = Literal["sgd", "adam", "adamw"] | Callable[[list[dict[str, Any]]], "torch.optim.Optimizer"]
"""An optimizer by name, with defaults from the network's recipe, or a function of the groups."""


class Dataset(Protocol):
    """A frozen dataclass that makes splits; its fields are the suite keys."""

    @property
    def task(self) -> Task:
        """The task, known without loading anything."""

    def fingerprint(self) -> str:
        """Digest of the content, computed without torch and without loading the data."""

    def splits(self, seed: int) -> Splits:
        """Train, val and test for one seed; the same seed gives the same splits."""


class Backbone(Protocol):
    """A frozen dataclass that builds a `Net` and knows how it was pretrained."""

    @property
    def source(self) -> Ref | None:
        """The data set it is pretrained on; None for random weights."""

    def fingerprint(self) -> str:
        """Digest of the files of weights it reads, computed without torch; "" if there are none."""

    def budget(self) -> Budget:
        """How much pretraining may spend."""

    def build(self, task: Task) -> Net:
        """A network for this task with random weights, drawn from torch's global generator, which the core seeds."""

    def tune(self, on: Tuning) -> None:
        """Pretrain `on.model` on the source data, with the same `Tuning` as a scheme."""


@dataclass(frozen=True)
class Budget:
    """How much a fine-tuning may spend: `epochs` over the training data in batches of `batch_size`, or `steps`."""

    epochs: int = 30
    batch_size: int = 32
    schedule: Literal["cosine", "constant"] = "cosine"
    steps: int | None = None
    """Optimizer steps, whatever the number of training examples; None for as many as the epochs take."""


@dataclass(frozen=True)
class Batch:
    """What a step trains on: targets `y` (n, ...), and the positions `rows` (n,) in the training data.

    `x` are the inputs (n, *input_shape) as the network in training sees them: on the device, after augmentation. They
    are read at first use, since features of a frozen prefix may be cached.
    """

    y: Tensor
    rows: Tensor
    read: Callable[[], Tensor] = field(repr=False)

    @cached_property
    def x(self) -> Tensor:
        """The inputs."""
        return self.read()

    def part(self, of: slice) -> Batch:
        """Some of its examples."""
        return Batch(self.y[of], self.rows[of], lambda: self.x[of])


Loss = Callable[["Tensor", Batch], "Tensor"]
"""Outputs (n, outputs) and the batch to the scalar that is minimised."""
Penalty = Callable[["nn.Module", Batch], "Tensor"]
"""The network and the batch to a scalar that is added to the loss."""


class Trainer(Protocol):
    """The one training loop. A scheme says what to train; the trainer knows how."""

    @property
    def budget(self) -> int:
        """Optimizer steps that all calls of `fit` together may take."""

    @property
    def batch_size(self) -> int:
        """Examples per step."""

    @property
    def augments(self) -> bool:
        """Whether training inputs are changed at random, so a batch's `x` differ from those of the data."""

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
        """Train the parameters in `groups`; everything else stays bit-identical, including buffers.

        `groups` are optimizer groups: dicts with `params` and, where they differ from the network's recipe, `lr`,
        `weight_decay`, `momentum`. `steps` is None for the rest of the budget; an optimizer that evaluates the gradient
        twice per step uses two steps. `penalty(model, batch)` is added to the loss. `loss(outputs, batch)` replaces the
        task's loss. The `Batch` has the inputs that the network was given, so a teacher sees what the student sees.
        `after_step(optimizer)` is called after every step. `norm` says what BatchNorm does in the stages that are
        trained: "train" normalises by the batch and updates the running statistics, "affine" keeps the statistics and
        trains scale and shift, "eval" keeps both. Leading stages without trained parameters are evaluated once. With
        `rows` (k,) only the examples at these positions are trained on.

        Raises:
            BudgetError: if more steps are requested than are left.
            ValueError: if `steps` is not a whole number from 0.
            PluginError: if `loss` or `penalty` can't be called this way.
        """

    def features(self, model: Net, x: Tensor) -> Tensor:
        """The head's inputs, (N, width), in evaluation mode and without gradients."""

    def outputs(self, model: nn.Module, x: Tensor) -> Tensor:
        """The network's outputs, (N, outputs), in evaluation mode and without gradients."""


@dataclass(frozen=True)
class Tuning:
    """All that a scheme may use.

    `model` is the network to tune in place: pretrained stages, fresh head. `pretrained` is the untouched original with
    its source head. `source` is the pretraining data, and `source_task` its task, where the scheme declares
    `needs = ("source",)`, else None. `rng` is the scheme's own source of randomness; don't use torch's global one.
    `figures` are numbers that the scheme adds to its row, such as a ranking score. `scheme` builds another scheme, for
    schemes that are made of others. `class_names` are what the data set calls its classes, their numbers where it names
    none, and `text_head(sentences)` gives the weights of a head (classes, width) from some sentences for each, for
    backbones that are `EmbedsText`, else it is None. `read(file, key, head)` gives the backbone's network with the
    weights of another file, for backbones that are `ReadsMembers`, else it is None.
    """

    task: Task
    model: Net
    pretrained: Net
    trainer: Trainer
    train: Data
    val: Data
    rng: torch.Generator
    scheme: Callable[[Spec], Scheme]
    source: Data | None = None
    source_task: Task | None = None
    figures: dict[str, float] = field(default_factory=dict)
    read: Callable[[Path, str | None, bool], Net] | None = None
    class_names: Sequence[str] = ()
    text_head: Callable[[Sequence[Sequence[str]]], Tensor] | None = None


@runtime_checkable
class Scheme(Protocol):
    """A fine-tuning scheme: a frozen dataclass whose fields are the hyper-parameters.

    It may also be `Prepares`, `NeedsPretraining`, `Composed`, `Searchable`, `Searcher`, `ForKinds`.
    """

    def tune(self, on: Tuning) -> None:
        """Tune `on.model` in place.

        Raises:
            NotApplicable: with the reason, if the scheme can't tune this network for this task.
        """


_VAL, _TRAIN, _BASE, _TRAINER = map(undeclared, ("val", "train", "base", "trainer"))
_TEST = undeclared("test_inputs", "test inputs")
_MEMBER_VAL, _MEMBER_TRAIN = (undeclared(what, of="member") for what in ("val", "train"))
_MEMBER_TEST = undeclared("test_inputs", "test inputs", of="member")
_NO_TASK: Any = Undeclared("this member was made without a `task`")


@dataclass(frozen=True)
class Member:
    """A tuned model in a fusion, with what it was tuned on.

    `score` is its quality on its `val` (accuracy, or minus the squared error in regression, so that higher is better),
    `val_outputs` (N, outputs) are its outputs there. `load` reads the network from the store; use `net`, which does so
    once. `task` is what it was tuned for; `val`, `train` and `test_inputs` are that task's, where the fusion declares
    that it needs them, and to use them elsewhere raises a `PluginError`. In a pool on one data set all members have the
    very same objects. Without "val" `score` is NaN.
    """

    name: str
    score: float
    val_outputs: Tensor
    load: Callable[[], Net] = field(repr=False)
    task: Task = _NO_TASK
    val: Data = _MEMBER_VAL
    train: Data = _MEMBER_TRAIN
    test_inputs: Tensor = _MEMBER_TEST

    @cached_property
    def net(self) -> Net:
        """The tuned network, in evaluation mode."""
        return self.load()

    @property
    def is_read(self) -> bool:
        """Whether `net` was asked for, so that what has it may have changed it."""
        return "net" in vars(self)


@dataclass(frozen=True)
class Fusing:
    """All that a fusion may use: the members, and otherwise only what the method declares in `needs`.

    `val`, `train`, `base`, `trainer` and `test_inputs` are given if they are in `needs`; using another one raises a
    `PluginError`. `base` is the network all members started from: the pretrained one with their common head,
    or the fused one of the round before; across backbones it is the first member's. `test_inputs` have no labels; a
    method that learns from them is transductive.

    In a pool across data sets `task`, `val`, `train` and `test_inputs` are the members' own, and to use those here
    raises `NotApplicable`; `base` is a `ManyHeads`, `trainer` has the training data of all tasks, one after the other
    in the order of `nets.by_task(members)`, `statistics` is the pool's policy for BatchNorm, and `zero` says what a
    task is whose own model scores 0, where something is chosen on val.
    """

    task: Task
    members: Sequence[Member]
    rng: torch.Generator
    val: Data = _VAL
    train: Data = _TRAIN
    base: Net = _BASE
    trainer: Trainer = _TRAINER
    test_inputs: Tensor = _TEST
    statistics: Statistics = "shared"
    zero: Zero = "undefined"
    choices: dict[str, tuple[float, bool]] = field(default_factory=dict)
    """What the method chooses on val by itself, for the board: by name the value, and whether it is at the edge."""


@runtime_checkable
class Fusion(Protocol):
    """A fusion method: a frozen dataclass with a `level`, what it `needs`, and `fuse`.

    Three laws hold for a fusion unless it is `Excepted`: a single member is returned unchanged, equal members give that
    member, and their order does not matter. It may also be `Alone` and `ForKinds`.
    """

    level: ClassVar[Level]
    needs: ClassVar[tuple[Need, ...]]

    def fuse(self, of: Fusing) -> nn.Module:
        """One deployable module: `CombineOutputs` (output level), `CombineFeatures` (feature), a `Net` (weight).

        Raises:
            NotApplicable: with the reason, if the method can't fuse this pool.
        """


class Metric(Protocol):
    """A frozen dataclass that scores outputs (logits, or regressed values) against targets."""

    kinds: ClassVar[tuple[str, ...]]
    """Kinds of task it is for."""
    higher_is_better: ClassVar[bool]

    def score(self, outputs: Tensor, y: Tensor) -> float:
        """One number for N examples."""
