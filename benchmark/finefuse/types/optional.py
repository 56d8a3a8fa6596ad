"""What a plugin may have besides what its kind demands. `docs/hooks.md` has an example of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

from finefuse.types.data import Task
from finefuse.types.entries import Space, Spec
from finefuse.types.inputs import Description, Vocabulary
from finefuse.types.learning import Law

if TYPE_CHECKING:
    from finefuse.network import Net

SourceNeed = Literal["source", "source head"]
"""What of a backbone's pretraining a scheme may ask for: the data, or the head."""
Told = Sequence[tuple[Mapping[str, Any], float]]
"""What earlier trials of a search tried, and how good each was on val."""


@runtime_checkable
class Prepares(Protocol):
    """A scheme that adds modules to the network."""

    def prepare(self, model: Net) -> None:
        """Add them, before `tune` and again before the tuned weights are read back.

        May draw from torch's global generator, which the core seeds.
        """


@runtime_checkable
class NeedsPretraining(Protocol):
    """A scheme that uses what the backbone was pretrained with; cells whose backbone lacks it are skipped."""

    needs: ClassVar[tuple[SourceNeed, ...]]


@runtime_checkable
class ForKinds(Protocol):
    """A strategy or metric that is for some kinds of task only."""

    kinds: ClassVar[tuple[str, ...]]


@runtime_checkable
class Composed(Protocol):
    """A scheme that is made of others: the core checks them with the suite, and `on.scheme(spec)` builds them."""

    nested: ClassVar[tuple[str, ...]]
    """The fields that hold them, each a `Spec` or a list of them."""


@runtime_checkable
class Searchable(Protocol):
    """A scheme that says what a search should try."""

    space: ClassVar[Space]
    """Parameters and their ranges: low, high and log, or choices."""


@runtime_checkable
class Searcher(Protocol):
    """A scheme that tries the scheme `of` with several settings; the core makes a job of each trial.

    `space` is what that scheme declares as `Searchable`, less the parameters that are given.
    """

    @property
    def of(self) -> Spec:
        """What is searched for."""

    def plan(self, space: Space) -> Sequence[Sequence[int]]:
        """For every trial the earlier ones that it has to know of."""

    def extremes(self, space: Space) -> Sequence[Mapping[str, Any]]:
        """Settings at the ends of the ranges, which are checked before any compute."""

    def suggest(self, trial: int, told: Told, space: Space, seed: int) -> Mapping[str, Any]:
        """The parameters that a trial sets; none for the scheme as it is written."""

    def at_edge(self, params: Mapping[str, Any], space: Space) -> Sequence[str]:
        """Which of the chosen parameters lie at the end of their range."""


@runtime_checkable
class PretrainedHead(Protocol):
    """A backbone whose weights come with a head."""

    @property
    def head_outputs(self) -> int | None:
        """Outputs of that head; None where these weights have none."""


@runtime_checkable
class Adapts(Protocol):
    """A backbone whose networks bring inputs of any shape and number type to what they were built for, themselves."""

    adapts: ClassVar[bool]


@runtime_checkable
class KeepsHead(Protocol):
    """A backbone whose head may stay where the target has as many outputs."""

    @property
    def keep_head(self) -> bool:
        """Whether it does."""


@runtime_checkable
class Remarking(Protocol):
    """A data set or backbone that left out or chose something while reading, which a person has to know."""

    def remarks(self) -> Sequence[str]:
        """A sentence each. Of data sets it is asked with the plan too, without torch and without loading them."""


@runtime_checkable
class Alone(Protocol):
    """A fusion that makes its own members, as many as the pool has; the pool's are not billed."""

    alone: ClassVar[bool]


@runtime_checkable
class Excepted(Protocol):
    """A fusion that does not keep some of the three laws."""

    except_for: ClassVar[tuple[Law, ...]]


@runtime_checkable
class Versioned(Protocol):
    """A plugin module or object with a version, which is told beside its name."""

    __version__: str


@runtime_checkable
class Tokenised(Protocol):
    """A data set whose inputs are token numbers."""

    def token_numbers(self) -> Vocabulary | None:
        """What they stand for, without loading the data; None where they are no tokens, or nobody can tell."""


@runtime_checkable
class Refuses(Protocol):
    """A backbone that can say without torch which data sets it can't take."""

    def refuses(self, task: Task, tokens: Vocabulary | None) -> str:
        """Why it can't take the inputs of a task, whose tokens are these if it is known; "" where it can.

        Raises:
            FinefuseError: if the network is one that it can't take for any task.
        """


@runtime_checkable
class Described(Protocol):
    """A data set that says how others make its inputs, for the card of an exported model."""

    def describe(self, seed: int) -> Description:
        """With the numbers of the splits of this seed."""
