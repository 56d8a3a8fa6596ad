"""What inputs stand for: said by a data set that knows it, for networks that have to and for those who deploy one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from finefuse.types.learning import Task


@dataclass(frozen=True)
class Vocabulary:
    """What token numbers stand for: `size` numbers from 0 on, by the tokeniser `name`.

    `padding` is the number of padding, None where it isn't known. Equal digests are equal tokens; "" is one that isn't
    known.
    """

    name: str
    size: int
    padding: int | None = 0
    digest: str = ""


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
