"""A kind of task that neither the core nor the zoo has heard of: counts, with a Poisson loss."""

from dataclasses import dataclass

import torch
from torch.nn import functional

import finefuse
from finefuse import Data, Entry, Splits, testing
from finefuse.tasks import Values


@dataclass(frozen=True)
class Counts(Values):
    """Outputs are the logarithms of rates."""

    kind = "counts"

    def losses(self, outputs, y):
        return functional.poisson_nll_loss(outputs, y, reduction="none").mean(-1)

    def example(self, count, seed):
        data = super().example(count, seed)
        return Data(data.x, torch.poisson(data.y.clamp(-3, 2).exp(), torch.Generator().manual_seed(seed)))


@dataclass(frozen=True)
class Visits:
    task = Counts(1, "tabular", (5,))

    def fingerprint(self):
        return "visits"

    def splits(self, seed):
        return Splits(self.task, *(self.task.example(n, seed + n) for n in (80, 40, 60)))


@dataclass(frozen=True)
class Deviance:
    kinds = ("counts",)
    higher_is_better = False

    def score(self, outputs, y):
        return float(2 * (torch.xlogy(y, y) - y * outputs - y + outputs.exp()).mean())


class Plugin:
    @finefuse.hookimpl
    def finefuse_datasets(self):
        yield Entry("visits", Visits)

    @finefuse.hookimpl
    def finefuse_metrics(self):
        yield Entry("deviance", Deviance, default_for=("counts",))
