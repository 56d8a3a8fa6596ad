"""Latency is timed until its median is known, and once for each structure."""

from __future__ import annotations

import itertools
import json
import math
import time

import numpy as np
import pytest
import torch
from torch import nn

from finefuse.engine.measure import latency
from finefuse.engine.measure.latency import median_within, structure
from finefuse.engine.store.artifacts import Artifacts
from finefuse.rows import NARROW


def small(*more: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), *more)


X = torch.zeros(2, 4)


@pytest.fixture
def clock(monkeypatch):
    """Calls take what a list says, in seconds of a clock that only they move."""
    now, taken = [0.0], []

    def set_up(seconds):
        source = iter(seconds)
        monkeypatch.setattr(time, "perf_counter", lambda: now[0])

        def call(*_):
            taken.append(next(source))
            now[0] += taken[-1]

        model = small()
        model.register_forward_hook(call)
        return model, taken

    return set_up


def timed(taken: list[float], found: latency.Latency) -> int:
    """How many calls the figures are of, which come after the warm-up."""
    for first in range(len(taken)):
        if float(np.median(taken[first:])) == pytest.approx(found.p50) and sum(taken[:first]) >= 0.05 and first >= 5:
            return len(taken) - first
    raise AssertionError


def test_it_ends_when_the_median_is_known(clock):
    model, taken = clock(itertools.cycle([0.0010, 0.00101, 0.00099]))
    found = latency.measure_latency(model, X, "fp32")
    assert found.within <= NARROW
    assert timed(taken, found) == latency.ENOUGH
    assert sum(taken) < 0.2


def test_it_ends_at_a_cap_and_says_so(clock):
    rng = np.random.default_rng(0)
    model, taken = clock(rng.lognormal(-5, 1, 10_000))
    found = latency.measure_latency(model, X, "fp32")
    assert found.within > NARROW
    assert sum(taken) > latency.SECONDS
    before = len(taken)
    model, taken = clock(rng.lognormal(-11, 2, 10_000))
    assert latency.measure_latency(model, X, "fp32").within > NARROW
    assert latency.MOST < len(taken) - before < 2 * latency.MOST


def test_slow_networks_are_called_often_enough_for_percentiles(clock):
    model, taken = clock(itertools.repeat(0.7))
    latency.measure_latency(model, X, "fp32")
    assert len(taken) == latency.WARM_UP + latency.FEWEST


def test_the_network_is_warm_before_it_is_timed(clock):
    model, _ = clock(itertools.chain([9.0, 5.0, 3.0, 3.0, 3.0], itertools.repeat(0.001)))
    found = latency.measure_latency(model, X, "fp32")
    assert found.p50 == found.p95 == pytest.approx(0.001)


@pytest.mark.parametrize("n", [20, 101, 400])
def test_the_interval_of_the_median_holds_it(n):
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(600):
        values = rng.lognormal(0, 0.5, n)
        below = math.floor((n - 1.96 * math.sqrt(n)) / 2)
        ordered = np.sort(values)
        low, high = ordered[below - 1], ordered[n - below]
        assert median_within(values.tolist()) == pytest.approx((high - low) / 2 / np.median(values))
        held += low <= 1.0 <= high
    assert 0.93 < held / 600 < 1.0
    assert math.isinf(median_within([1.0, 1.0]))


def test_equal_structures_are_equal_whatever_their_weights():
    assert structure(small(), X, "fp32") == structure(small(), X, "fp32")
    frozen = small().requires_grad_(False)
    assert structure(frozen, X, "fp32") == structure(small(), X, "fp32")


class Wrapped(nn.Module):
    """Does the same, and may do more in Python."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (small(nn.ReLU()), X),
        (nn.Sequential(nn.Linear(4, 9), nn.ReLU()), X),
        (nn.Sequential(nn.Linear(4, 8), nn.Tanh()), X),
        (nn.Sequential(nn.Linear(4, 8, bias=False), nn.ReLU()), X),
        (small().double(), X.double()),
        (small(), torch.zeros(3, 4)),
        (small(), torch.zeros(4, 2).T),
        (Wrapped(small()), X),
    ],
)
def test_other_structures_are_others(model, x):
    assert structure(model, x, "fp32") != structure(small(), X, "fp32")


def test_strides_of_convolutions_count():
    one, two = (nn.Conv2d(1, 1, 3, stride=s, padding=s) for s in (1, 2))
    other = nn.Conv2d(1, 1, 3, stride=1, dilation=2, padding=2)
    x = torch.zeros(1, 1, 8, 8)
    assert len({structure(model, x, "fp32") for model in (one, two, other)}) == 3


def test_once_for_each_structure(workshop, monkeypatch):
    """`full` and its soup are one structure, the vote of two another; what is reused is named."""
    made = []
    monkeypatch.setattr(
        "finefuse.engine.measure.latency.measure_latency",
        lambda model, x, precision: made.append(len(x)) or latency.Latency(len(made), 2.0, 0.01, contended=False),
    )
    rows = {row["label"]: row for row in workshop(schemes=["full"]).run("time")}
    assert made == [1, 4, 1, 4]
    assert rows["full"]["latency_of"] == rows["soup"]["latency_of"]
    assert rows["full"]["structure"] == rows["soup"]["structure"] != rows["vote"]["structure"]
    assert rows["full"]["latency_of"] == [rows["full"]["cell"]]
    assert rows["soup"]["latency.4.p50"] == rows["full"]["latency.4.p50"] == 2
    assert rows["vote"]["latency.4.within"] == 0.01
    assert {row["costs"] for row in rows.values()} == {2}


def test_what_was_timed_beside_other_work_is_timed_again(workshop, monkeypatch):
    made = []
    monkeypatch.setattr(
        "finefuse.engine.measure.latency.measure_latency",
        lambda model, x, precision: made.append(len(x)) or latency.Latency(1.0, 2.0, 0.01, contended=True),
    )
    rows = workshop(latency=[1], schemes=["full"], fusions=["soup"]).run("time")
    assert len(made) == len(rows) == 2
    assert all(row["contended"] and row["latency_of"] == [row["cell"]] for row in rows)


def test_measurements_are_checked_when_read(tmp_path):
    store = Artifacts(tmp_path)
    assert store.measured("ab12") is None
    store.save_measured("ab12", {"p50": 0.5})
    assert store.measured("ab12") == {"p50": 0.5}
    (path,) = tmp_path.glob("measured/*/*.json")
    for damaged in (json.dumps(json.loads(path.read_text()) | {"fields": {"p50": 0.1}}), "[]", "{", ""):
        path.write_text(damaged)
        assert store.measured("ab12") is None
