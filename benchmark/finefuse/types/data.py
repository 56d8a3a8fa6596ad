"""What is to be predicted and what it is learned from: tasks, examples, splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from finefuse.errors import PluginError
from finefuse.types.undeclared import Undeclared

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Modality = Literal["image", "text", "tabular"]


@dataclass(frozen=True)
class Data:
    """Inputs `x` (N, *input_shape) and targets `y`: class numbers (N,), int64; in regression (N, outputs), float32.

    Targets are on the device of the job. Inputs may be too large for it and stay in a file or in the host's memory:
    `inputs` moves some of them to the device; `Trainer.features` and `Trainer.outputs` do this for you.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def inputs(self, rows: Tensor | slice) -> Tensor:
        """Inputs at some positions (n, *input_shape), on the device of the targets."""
        return self.x[rows if isinstance(rows, slice) else rows.to(self.x.device)].to(self.y.device)

    def to(self, device: str) -> Data:
        """The same examples on another device."""
        return Data(self.x.to(device), self.y.to(device))


class Unlabelled(Data):
    """The same examples for a plugin that says that it uses no labels: `y` raises an error with a sentence."""

    def __init__(self, data: Data) -> None:
        y: Any = Undeclared("the fusion reads labels, and says `uses_labels = False`")
        super().__init__(data.x, y)
        object.__setattr__(self, "_device", data.y.device)

    def __len__(self) -> int:
        return len(self.x)

    def inputs(self, rows: Tensor | slice) -> Tensor:
        """Inputs at some positions (n, *input_shape), on the device of the job."""
        device: torch.device = vars(self)["_device"]
        return self.x[rows if isinstance(rows, slice) else rows.to(self.x.device)].to(device)


@runtime_checkable
class Task(Protocol):
    """What is to be predicted, and all that depends on its kind: a frozen dataclass, such as those in `finefuse.tasks`.

    A network for it takes inputs (N, *input_shape) and has a linear head that gives outputs (N, outputs), float32.
    Strategies ask the task for what they need and don't need to know its kind. A strategy that supports only some kinds
    lists them in `kinds`.
    """

    kind: ClassVar[str]
    """The name that metrics and strategies use in their `kinds`."""

    def __new__(cls, *args: Any, **options: Any) -> Task:
        """Refuse `Task("classification", ...)`, which made a task before there was one class for each kind."""
        if cls is Task:
            name = str(args[0] if args else options.get("kind", "classification")).capitalize()
            raise PluginError(
                f"Task is a protocol; write {name}(outputs=..., modality=..., input_shape=...), from finefuse.tasks"
            )
        return super().__new__(cls)

    def __hash__(self) -> int:
        """Equal tasks are the same task."""

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for each example."""

    @property
    def modality(self) -> Modality:
        """What the inputs are."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""

    @property
    def classes(self) -> int:
        """Number of classes, if the outputs are logits whose softmax gives probabilities; otherwise 0."""

    @property
    def mixes(self) -> bool:
        """Whether `loss` also takes mixed targets: shares of classes (N, classes) in place of class numbers."""

    def resized(self, outputs: int) -> Task:
        """The same task with another number of outputs."""

    def bad_outputs(self, outputs: Tensor, count: int) -> str:
        """Why outputs for `count` examples can't be used; "" if they can."""

    def bad_targets(self, y: Tensor) -> str:
        """Why targets can't be used; "" if they can."""

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """What training minimises: a scalar, the mean over examples."""

    def losses(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The loss of each example, (..., N), for outputs (..., N, outputs)."""

    def right(self, outputs: Tensor, y: Tensor) -> Tensor | None:
        """Which answers are right, (..., N) booleans; None if answers aren't right or wrong and `losses` count."""

    def quality(self, outputs: Tensor, data: Data) -> float:
        """How good outputs are for choosing between models; higher is better."""

    def normalised(self, quality: float, own: float) -> float:
        """A quality by that of the task's own model: 1 for as good, more for better; NaN if that is no measure."""

    def merits(self, outputs: Tensor, y: Tensor) -> Tensor:
        """How good the members' outputs (members, N, outputs) are, (members, N): an oracle picks the best member."""

    def diversity(self, outputs: Tensor, y: Tensor) -> Mapping[str, float | None]:
        """How much members (members, N, outputs) differ, as means over all pairs; None where it isn't defined."""

    def averaged(self, outputs: Tensor, weights: Tensor | None = None) -> Tensor:
        """The mean of members (members, N, outputs) as an ensemble's outputs, or their sum with weights (members,)."""

    def by_rule(self, outputs: Tensor, rule: Callable[[Tensor], Tensor]) -> Tensor:
        """An ensemble's outputs: `rule` applied to members' log-probabilities or values (members, N, outputs)."""

    def directions(self, outputs: Tensor, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Directions v (N, K, outputs) in output space and their shares q (N, K) that make up the Fisher information.

        F = sum_k q_k (J^T v_k)^2, J the Jacobian of the outputs. With `rng` a single draw estimates the sum.
        """

    def taught(self, outputs: Tensor, temperature: float) -> Tensor:
        """The targets that several teachers (members, N, outputs) give a student, (N, outputs)."""

    def teaching_loss(self, outputs: Tensor, taught: Tensor, temperature: float) -> Tensor:
        """How far a student's outputs are from what it was taught: a scalar, the mean over examples."""

    def example(self, count: int, seed: int) -> Data:
        """Small data on which something can be learned, for the conformance kit."""

    def described(self) -> str:
        """What the outputs (N, outputs) mean, for a model card."""


@dataclass(frozen=True)
class Splits:
    """Disjoint examples of one task, also disjoint from the data that the backbone was pretrained on."""

    task: Task
    train: Data
    val: Data
    test: Data
