"""What greedy ensemble selection asks again and again: how good the bag would be with one more member, for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from finefuse import nets

if TYPE_CHECKING:
    from torch import Tensor

AT_ONCE = 2**20
"""Numbers worked on at a time, so that they stay in the processor's cache."""
ROUNDING = 1e-3
"""More than rounding can do to a sum of probabilities."""


class Classes:
    """A bag of members whose probabilities are averaged, `outputs` (members, N, classes) being logits."""

    def __init__(self, outputs: Tensor, y: Tensor) -> None:
        self.y, self.size = y, 0
        self.p = outputs.softmax(-1)
        self.total = torch.zeros_like(self.p[0])
        self.right = self.p.gather(-1, y.expand(len(self.p), -1)[..., None])[..., 0]  # (members, N)
        largest, self.rivals = (torch.stack(t) for t in zip(*(self._rival(p) for p in self.p), strict=True))
        self.leads = self.right - largest

    def _rival(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """The largest of the wrong classes of p (N, classes), and which class that is, (N,)."""
        largest, which = p.scatter(1, self.y[:, None], -1.0).max(1)
        return largest, which

    def qualities(self) -> Tensor:
        """The accuracy (members,) of the bag with each member added.

        With a member the right class leads by no less than the bag's lead and the member's together, and by no more
        than it does over the member's rival alone, or over the bag's. Only what this leaves open is worked out.
        """
        right = self.total.gather(1, self.y[:, None])[:, 0]
        largest, rival = self._rival(self.total)
        sure = right - largest + self.leads > ROUNDING
        possible = right - self.total.T.gather(0, self.rivals) + self.leads >= -ROUNDING
        pairs = (possible & ~sure).flatten().nonzero()[:, 0]  # of a member and an example
        rows, count = pairs % len(right), self.p.shape[2]
        of_rival = self.p.flatten().index_select(0, pairs * count + rival[rows])
        over_rival = (right - largest)[rows] + self.right.flatten().index_select(0, pairs) - of_rival
        hits = sure.sum(1)
        for part in torch.split(pairs[over_rival >= -ROUNDING], max(1, AT_ONCE // count)):
            rows = part % len(right)
            p = self.p.flatten(0, 1).index_select(0, part) + self.total.index_select(0, rows)
            hits.index_add_(0, part // len(right), (p.argmax(-1) == self.y[rows]).long())
        return hits.double() / len(right)

    def likelihood(self, member: int) -> float:
        """The mean log-likelihood of the bag with a member added."""
        right = self.total.gather(1, self.y[:, None])[:, 0] + self.right[member]
        return float(nets.log_probs(right.double() / (self.size + 1)).mean())

    def add(self, member: int) -> None:
        """Put a member into the bag, once more if it is in it."""
        self.total += self.p[member]
        self.size += 1


class Values:
    """A bag of members whose values are averaged, `outputs` (members, N, values)."""

    def __init__(self, outputs: Tensor, y: Tensor) -> None:
        self.errors, self.size = (outputs.double() - y.double()).flatten(1), 0
        self.squares = self.errors.square().sum(1)
        self.total = torch.zeros_like(self.errors[0])

    def qualities(self) -> Tensor:
        """Minus the mean squared error (members,) of the bag with each member added."""
        squares = self.total.square().sum() + 2 * self.errors @ self.total + self.squares
        return -squares / (self.size + 1) ** 2 / len(self.total)

    def likelihood(self, _: int) -> float:
        """The squared error says all."""
        return 0.0

    def add(self, member: int) -> None:
        """Put a member into the bag, once more if it is in it."""
        self.total += self.errors[member]
        self.size += 1


def choose(bag: Classes | Values, rounds: int) -> list[int]:
    """Members in the order in which they were put into the bag, up to where it was best for the first time.

    Of members that are as good, those already in the bag come first, then the larger likelihood, then the pool's order.
    """
    chosen: list[int] = []
    course: list[float] = []
    for _ in range(rounds):
        qualities = bag.qualities()
        best = (qualities == qualities.max()).nonzero().flatten().tolist()
        best = [member for member in best if member in chosen] or best
        chosen.append(best[0] if len(best) == 1 else max(best, key=bag.likelihood))
        course.append(float(qualities[chosen[-1]]))
        bag.add(chosen[-1])
    return chosen[: course.index(max(course)) + 1]
