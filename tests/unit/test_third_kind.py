"""A kind of task that neither the core nor the zoo has heard of: counts, with a Poisson loss."""

from dataclasses import dataclass

import torch
from torch.nn.functional import poisson_nll_loss

import finefuse
from finefuse import Data, Entry, Splits, testing
from finefuse.tasks import Values
from finefuse_zoo.fusions.mean import Mean
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.schemes.full import Full


@dataclass(frozen=True)
class Counts(Values):
    kind = "counts"

    def losses(self, outputs, y):
        return poisson_nll_loss(outputs, y, reduction="none").mean(-1)  # outputs are the logarithms of rates

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
    kinds, higher_is_better = ("counts",), False

    def score(self, outputs, y):
        return float(2 * (torch.xlogy(y, y) - y * outputs - y + outputs.exp()).mean())


class Plugin:
    @finefuse.hookimpl
    def finefuse_datasets(self):
        yield Entry("visits", Visits)

    @finefuse.hookimpl
    def finefuse_metrics(self):
        yield Entry("deviance", Deviance, default_for=("counts",))


def test_it_goes_all_the_way(tmp_path):
    suite = {"name": "visits", "datasets": ["visits"], "backbones": ["mlp-table"], "fusions": ["mean", "soup"]}
    suite |= {"schemes": ["full", "linear-probe"], "pools": {"two": {"of": ["full"], "copies": 2}}, "latency": []}
    skipped = {job.skip for job in finefuse.plan(suite, plugins=Plugin()).jobs}
    assert skipped == {"", "linear-probe is for classification and regression, and visits is counts"}
    runs = []
    for n, epochs in enumerate((1, 20, 20)):
        where = {"out": tmp_path / f"{n}", "store": tmp_path / f"store{n}", "workers": 0, "quiet": True}
        runs.append(finefuse.run(suite | {"budget": {"epochs": epochs}}, plugins=Plugin(), **where))
    told = " ".join(f"{row['label']}: {row['status']}" for row in runs[1].rows if row["kind"] in ("tune", "fuse"))
    assert told == "full: ok full: ok linear-probe: skipped mean: ok soup: ok"
    assert "deviance" in runs[1].board.to_markdown()
    assert finefuse.compare(runs[0].folder, runs[1].folder).counts == {"not-comparable": 1, "improved": 3}
    assert finefuse.compare(runs[1].folder, runs[2].folder).counts == {"not-comparable": 1, "unchanged": 3}


def test_the_kit_tries_strategies_on_it():
    testing.check_scheme(Full, tasks=[Visits.task])
    testing.check_fusion(Mean, tasks=[Visits.task])
    testing.check_fusion(Soup, tasks=[Visits.task])
