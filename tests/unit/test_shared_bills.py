"""Who reads what frozen stages gave is billed what who computed it was, and has the same bits."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from finefuse.engine.measure.bill import Took
from finefuse.engine.measure.cost import Stopwatch
from finefuse.engine.train import shared as module
from helpers.sharing import network, shares, trainer_of


@pytest.fixture
def sharing_all(tmp_path, monkeypatch):
    """Makes what jobs with these parts share, whatever it is worth."""
    monkeypatch.setattr(module, "WORTH", 1)
    return partial(shares, tmp_path)


TOOK = Took(100.0, 50.0, 10**9, 7.0, "", contended=True, alone=False)


@pytest.fixture
def hours(monkeypatch):
    """Whatever is computed for all jobs, computing it has taken as long as `TOOK` says."""
    monkeypatch.setattr(Took, "by", lambda _: TOOK)


def billed(trainer, watch):
    return watch.seconds - trainer.bill.off + trainer.bill.on


def test_who_reads_features_is_billed_what_who_computed_them_was(lab, sharing_all, hours):
    x = torch.randn(600, 4)
    for turn in range(3):
        trainer = trainer_of(lab, sharing_all(network(head=turn)))
        with Stopwatch("cpu") as watch:
            out = trainer.features(network(head=turn), x)
        bill = trainer.bill
        assert torch.equal(out, lab.trainer().features(network(), x))
        assert 100 <= billed(trainer, watch) <= 100 + watch.seconds
        assert (bill.on, bill.on_cpu, bill.on_energy.processors) == (100, 50, 7.0)
        assert (bill.contended, bill.alone, bill.shared) == (True, False, 100 if turn else 0)
        assert watch.peak_memory >= 10**9


def test_a_reader_pays_again_each_time_as_it_would_alone(lab, sharing_all, hours):
    x = torch.randn(600, 4)
    for turn in range(2):
        trainer = trainer_of(lab, sharing_all(network()))
        for _ in range(2):
            trainer.features(network(), x)
        assert (trainer.bill.on, trainer.bill.shared) == (200, 200 if turn else 100)


def test_a_fusion_only_reads_features_and_pays_for_them(lab, sharing_all, hours, tmp_path):
    x = torch.randn(600, 4)
    trainer = trainer_of(lab, sharing_all(None))
    trainer.features(network(), x)
    assert trainer.bill.on == 0
    assert not (tmp_path / "shared").exists()
    trainer_of(lab, sharing_all(network())).features(network(), x)
    trainer.features(network(), x)
    assert (trainer.bill.on, trainer.bill.shared) == (100, 100)


@pytest.mark.parametrize("trained", [("head",), ("stages.2", "head")])
def test_training_behind_frozen_stages_has_the_same_bits_and_the_same_bill(lab, sharing_all, hours, trained):
    alone = network()
    groups = lambda net: [{"params": net.get_submodule(name).parameters()} for name in trained]  # noqa: E731
    lab.trainer().fit(alone, groups(alone))
    for turn in range(2):
        ours = network()
        trainer = trainer_of(lab, sharing_all(network()))
        trainer.fit(ours, groups(ours))
        assert lab.changed(lab.state(alone), ours) == set()
        assert (trainer.bill.on, trainer.bill.shared) == (100, 100 * turn)


def test_features_of_a_body_that_was_tuned_are_nobody_elses(lab, sharing_all, hours, tmp_path):
    ours, x = network(), torch.randn(20, 4)
    for p in ours.stages[2].parameters():
        p.data.add_(0.5)
    trainer = trainer_of(lab, sharing_all(network()))
    assert torch.equal(trainer.features(ours, x), lab.trainer().features(ours, x))
    assert trainer.bill.on == 0
    assert not (tmp_path / "shared").exists()


@pytest.mark.parametrize(
    "told",
    [{}, {"seconds": 1}, TOOK.fields | {"seconds": -1}, TOOK.fields | {"seconds": "1"}, TOOK.fields | {"more": 1}],
)
def test_a_bill_that_is_none_is_refused(told):
    assert Took.read(TOOK.fields) == TOOK
    assert Took.read(told) is None
