"""What a plugin may have besides what its kind requires. `docs/hooks.md` has an example of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from finefuse.types.data import Task
from finefuse.types.entries import Space, Spec
from finefuse.types.inputs import Description, Vocabulary
from finefuse.types.learning import Fusing, Law

if TYPE_CHECKING:
    from torch import Tensor

    from finefuse.network import Net

SourceNeed = Literal["source", "source head"]
"""Parts of a backbone's pretraining that a scheme may need: the data, or the head."""
Told = Sequence[tuple[Mapping[str, Any], float]]
"""The settings of earlier trials of a search, and how good each was on val."""


@runtime_checkable
class Prepares(Protocol):
    """A scheme that adds modules to the network."""

    def prepare(self, model: Net) -> None:
        """Add them, before `tune` and again before the tuned weights are read back.

        May draw from torch's global generator, which the core seeds.
        """


@runtime_checkable
class NeedsPretraining(Protocol):
    """A scheme that uses the backbone's pretraining data or head; cells whose backbone lacks it are skipped."""

    needs: ClassVar[tuple[SourceNeed, ...]]


@runtime_checkable
class Given(Protocol):
    """A scheme whose networks were tuned elsewhere: they have no bill, and their rows say where they are from."""

    def provenance(self) -> Mapping[str, str]:
        """What is known of the network, by name. Called after `tune`."""


@runtime_checkable
class ReadsMembers(Protocol):
    """A backbone that reads files of networks that were tuned from it, whatever their tensors are called."""

    def member(self, task: Task, file: Path, key: str | None, head: bool) -> Net:
        """The network for a task with the weights in a file, under `key` if it holds several; `head` if its head too.

        Raises:
            FinefuseError: if there is no such file, or it doesn't fit.
        """


@runtime_checkable
class EmbedsText(Protocol):
    """A backbone with a tower for text beside its network, whose embeddings can be the rows of a head."""

    def text_head(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Weights of a head, (classes, width), from some sentences for each class.

        Raises:
            FinefuseError: if the tower can't be had.
        """


@runtime_checkable
class SaysSteps(Protocol):
    """A scheme that says whether it takes steps of the trainer; where it takes none, `augment` changes nothing."""

    takes_steps: ClassVar[bool]


@runtime_checkable
class ForKinds(Protocol):
    """A strategy or metric that supports only some kinds of task."""

    kinds: ClassVar[tuple[str, ...]]


@runtime_checkable
class Composed(Protocol):
    """A scheme that is made of others: the core checks them with the suite, and `on.scheme(spec)` builds them."""

    nested: ClassVar[tuple[str, ...]]
    """The fields that hold them, each a `Spec` or a list of them."""


@runtime_checkable
class Searchable(Protocol):
    """A scheme or fusion that says what a search should try."""

    space: ClassVar[Space]
    """Parameters and their ranges: low, high and log, or choices."""


@runtime_checkable
class Searcher(Protocol):
    """A scheme that tries the scheme `of`, or among fusions the fusion `of`, with several settings.

    The core makes a job of each trial. `space` is what is declared as `Searchable`, less the parameters that are given.
    """

    @property
    def of(self) -> Spec:
        """What is searched for."""

    def plan(self, space: Space) -> Sequence[Sequence[int]]:
        """For every trial, the earlier ones whose results it needs."""

    def extremes(self, space: Space) -> Sequence[Mapping[str, Any]]:
        """Settings at the ends of the ranges, which are checked before any compute."""

    def suggest(self, trial: int, told: Told, space: Space, seed: int) -> Mapping[str, Any]:
        """The parameters that a trial sets; none for the unchanged scheme or fusion."""

    def at_edge(self, params: Mapping[str, Any], space: Space) -> Sequence[str]:
        """Which of the chosen parameters lie at the end of their range."""


@runtime_checkable
class PretrainedHead(Protocol):
    """A backbone whose weights come with a head."""

    @property
    def head_outputs(self) -> int | None:
        """Outputs of that head; None if these weights have no head."""


@runtime_checkable
class Adapts(Protocol):
    """A backbone whose networks accept inputs of any shape and number type and convert them."""

    adapts: ClassVar[bool]


@runtime_checkable
class KeepsHead(Protocol):
    """A backbone whose head may be kept where the target has the same number of outputs."""

    @property
    def keep_head(self) -> bool:
        """Whether it is kept."""


@runtime_checkable
class Remarking(Protocol):
    """A data set or backbone that reports what it left out or chose while reading."""

    def remarks(self) -> Sequence[str]:
        """One sentence for each remark. For data sets it is also called while planning, without torch or loading."""


@runtime_checkable
class ReadsInputs(Protocol):
    """A data set that reads new inputs for `finefuse predict`, in the way it reads its own."""

    def read_inputs(self, where: Path, seed: int) -> tuple[Sequence[str], Tensor]:
        """Names of the inputs in a file or folder, and the inputs (N, *input_shape), as in the splits of this seed.

        Raises:
            FinefuseError: if they can't be read, or are others than it has.
        """


@runtime_checkable
class Folded(Protocol):
    """A data set with published splits or folds, which are averaged as seeds are."""

    @property
    def number_of_folds(self) -> int:
        """How many: `splits` then gets the number of one, the suite's seed modulo this; 0 for splits drawn by seed."""


@runtime_checkable
class Alone(Protocol):
    """A fusion that makes its own members, as many as the pool has; its cost leaves out the pool's."""

    alone: ClassVar[bool]


@runtime_checkable
class ForManyTasks(Protocol):
    """A fusion that says whether it serves members of several tasks.

    Without it those on the weight level do, unless they are `Alone`, and no others.
    """

    many_tasks: ClassVar[bool]


@runtime_checkable
class Excepted(Protocol):
    """A fusion that breaks some of the three laws."""

    except_for: ClassVar[tuple[Law, ...]]


@runtime_checkable
class UsesLabels(Protocol):
    """A fusion that says whether it uses labels: where it doesn't, it gets its data without them."""

    uses_labels: ClassVar[bool]


@runtime_checkable
class OwnLoop(Protocol):
    """A fusion whose own loop is no fine-tuning: it evaluates gradients beside the suite's budget, and says how many.

    Without it each of them counts towards the budget, as in schemes.
    """

    def own_gradients(self, of: Fusing) -> int:
        """How many they are, at most; more of them count towards the budget. Called after `fuse`."""


@runtime_checkable
class Follows(Protocol):
    """A fusion of weights that can also be a stage after another one: `followed_by` in a suite.

    As a stage it gets what it declares in `needs`, and the members that were fused.
    """

    def follow(self, net: Net, of: Fusing) -> Net:
        """What becomes of the fused network, which may be changed in place: of several tasks a `ManyHeads`.

        Raises:
            NotApplicable: with the reason, if nothing can be done with it.
        """


@runtime_checkable
class Elsewhere(Protocol):
    """An executor that has jobs carried out on other machines."""

    def room(self, threads: int) -> int:
        """How many jobs of so many threads they have room for at a time; at least 1, or it raises `FinefuseError`."""


@runtime_checkable
class Versioned(Protocol):
    """A plugin module or object with a version, which is printed beside its name."""

    __version__: str


@runtime_checkable
class Tokenised(Protocol):
    """A data set whose inputs are token numbers."""

    def token_numbers(self) -> Vocabulary | None:
        """What they mean, without loading the data; None if they aren't tokens or it is unknown."""


@runtime_checkable
class Refuses(Protocol):
    """A backbone that can say without torch which data sets it can't take."""

    def refuses(self, task: Task, tokens: Vocabulary | None) -> str:
        """Why it can't take the inputs of a task, whose `tokens` are given if known; "" if it can.

        Raises:
            FinefuseError: if the network can't be used for any task.
        """


@runtime_checkable
class Described(Protocol):
    """A data set that explains how to make its inputs, for the card of an exported model."""

    def describe(self, seed: int) -> Description:
        """The description, with the numbers of the splits of this seed."""
