"""A line of the board, as a suite declares it."""

from __future__ import annotations

from dataclasses import dataclass

from finefuse.types import Ref


@dataclass(frozen=True)
class Strategy:
    """A line of the board: a scheme or fusion method, and its label.

    Of a fusion also the number of rounds, what it is chosen from, on val, the search for its parameters, and the stages
    that follow it; of a scheme the data sets and backbones that it is for, none for all.
    """

    label: str
    ref: Ref
    rounds: int = 1
    choices: tuple[Ref, ...] = ()
    datasets: tuple[Ref, ...] = ()
    backbones: tuple[Ref, ...] = ()
    search: Ref | None = None
    followed_by: tuple[Ref, ...] = ()

    def is_for(self, dataset: Ref, backbone: Ref | None = None) -> bool:
        """Whether a scheme is tuned for a data set, from a backbone if one is given."""
        there = backbone is None or not self.backbones or backbone in self.backbones
        return there and (not self.datasets or dataset in self.datasets)
