"""What a plugin must leave as it was fails its row, with what it is, and is put back; what it trains is counted."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from finefuse.discovery.capabilities import own_gradients
from finefuse.engine.measure.effort import Effort
from finefuse.engine.work.untouched import Surroundings
from finefuse.errors import BudgetError, PluginError
from helpers.plugging import PLUGINS

MEDDLERS = str(PLUGINS / "meddlers.py")
GIVEN = {
    "train_inputs": "the training inputs",
    "val_targets": "the validation targets",
    "by_numpy": "the validation inputs",
    "by_data": "the training targets",
}
SURROUNDINGS = {
    "dtype": "torch's default dtype",
    "grad": "torch's grad mode",
    "threads": "torch's number of threads",
    "deterministic": "torch's deterministic algorithms",
    "loss": "torch.nn.functional.cross_entropy",
    "body_of_a_function": "torch.nn.functional.relu",
    "layer": "torch.nn.modules.linear.Linear.forward",
    "trainer": "finefuse.engine.train.trainer.SuiteTrainer.outputs",
    "clock": "time.perf_counter",
    "hook": "hooks of all modules",
    "optimizer": "torch.optim.AdamW.step",
    "inherited_step": "torch.optim.Adam.step",
    "body_of_a_step": "torch.optim.SGD.step",
    "schedule": "torch.optim.lr_scheduler.LambdaLR.get_lr",
    "zeroing": "torch.optim.Optimizer.zero_grad",
}


@pytest.fixture
def job(workshop):
    """Carries out one scheme, or one fusion of two members, in this process."""

    def carry_out(scheme="full", fusion=None):
        pools = {"all": {"of": ["full"], "copies": 2}} if fusion else {}
        schemes = [scheme] if scheme == "full" else ["full", scheme]
        shop = workshop([MEDDLERS], schemes=schemes, fusions=[fusion] if fusion else [], pools=pools, latency=[])
        return shop.run("fuse" if fusion else "tune")[-1]

    return carry_out


@pytest.mark.parametrize(("what", "which"), GIVEN.items())
def test_what_was_changed_in_place_is_named(job, what, which):
    before = job()
    with pytest.raises(PluginError, match=rf"^it changed {which} that it was given in place$"):
        job({"use": "meddles", "what": what})
    assert job()["outputs"] == before["outputs"]


def test_a_fusion_that_changes_test_inputs_is_named(job):
    with pytest.raises(PluginError, match=r"^it changed the test inputs that it was given in place$"):
        job(fusion="centres")


@pytest.mark.parametrize(("what", "which"), SURROUNDINGS.items())
def test_what_was_left_changed_is_named_and_put_back(job, what, which):
    job()  # sets the suite's switches
    before = Surroundings()
    with pytest.raises(PluginError, match=rf"^it changed {which} and did not put that back$"):
        job({"use": "meddles", "what": what})
    assert before.put_back() == []


def test_an_optimizer_that_is_made_for_the_first_time_is_no_change():
    """Torch wraps the method `step` of its class then."""
    before = Surroundings()

    class First(torch.optim.SGD):
        pass

    for kind in (First, torch.optim.Adagrad, torch.optim.LBFGS, torch.optim.Rprop, torch.optim.AdamW):
        kind([torch.ones(1, requires_grad=True)]).step(lambda: torch.ones(1))
    assert before.put_back() == []


def test_what_is_harmless_is_no_fault(job, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert job({"use": "meddles", "what": "surroundings"})["status"] == "ok"


@pytest.mark.parametrize("what", ["budget", "spent", "fit"])
def test_what_the_trainer_counts_is_out_of_reach(job, what):
    with pytest.raises(AttributeError):
        job({"use": "meddles", "what": what})


def test_steps_of_a_loop_of_ones_own_are_counted(job):
    full = job()
    mixed = job({"use": "trains", "paid": 0.5, "own": 0.5})
    assert full["steps"] == full["gradients"] == 9
    assert mixed["steps"] == mixed["gradients"] == 8


@pytest.mark.parametrize(("paid", "own"), [(0.2, 20), (1, 0.2), (0, 2)])
def test_steps_beyond_the_budget_fail_the_row(job, paid, own):
    found = (
        f"took {int(9 * own)} optimizer steps of its own beside {int(9 * paid)} of the trainer's, and its budget is 9"
    )
    with pytest.raises(BudgetError, match=found):
        job({"use": "trains", "paid": paid, "own": own})


BY_HAND = ["assignment", "grad", "backward"]


@pytest.mark.parametrize("way", BY_HAND)
def test_steps_that_no_optimizer_takes_are_within_the_budget(job, way):
    row = job({"use": "by-hand", "way": way, "paid": 0.5, "own": 0.5})
    assert (row["steps"], row["gradients"]) == (4, 8)


@pytest.mark.parametrize("way", BY_HAND)
@pytest.mark.parametrize(("paid", "own"), [(0, 2), (1, 0.2)])
def test_steps_that_no_optimizer_takes_fail_the_row_beyond_it(job, way, paid, own):
    found = f"evaluated {int(9 * own)} gradients of its own beside {9 * paid} of the trainer's, and its budget is 9"
    with pytest.raises(BudgetError, match=found):
        job({"use": "by-hand", "way": way, "paid": paid, "own": own})


def test_steps_within_a_penalty_are_paid_too(job):
    assert job({"use": "penalised", "paid": 0.5})["gradients"] == 8
    with pytest.raises(BudgetError, match=r"evaluated 9 gradients of its own beside 9 of the trainer's"):
        job({"use": "penalised"})


@pytest.mark.parametrize(("paid", "own", "declared"), [(0.5, 0.5, 0), (1, 1, 9)])
def test_a_fusions_own_loop_is_within_the_budget_or_declared(job, paid, own, declared):
    row = job(fusion={"use": "learns", "paid": paid, "own": own, "declared": declared})
    assert row["gradients"] == row["steps"] == int(9 * paid) + int(9 * own)


@pytest.mark.parametrize(("paid", "own", "declared"), [(0, 2, 0), (1, 1, 8)])
def test_a_fusions_own_loop_beyond_that_fails_its_row(job, paid, own, declared):
    found = (
        f"took {9 * own} optimizer steps of its own beside {9 * paid} of the trainer's, and its budget is 9 for both"
    )
    more = f", with {declared} more for its own" if declared else ""
    with pytest.raises(BudgetError, match=f"^{found}{more}$"):
        job(fusion={"use": "learns", "paid": paid, "own": own, "declared": declared})


@pytest.mark.parametrize("declared", [-1, 2.0, True, None])
def test_how_many_gradients_a_fusion_takes_is_a_number(declared):
    fusion = SimpleNamespace(own_gradients=lambda of: declared)
    with pytest.raises(PluginError, match="from its `own_gradients`, which should be 0 or more"):
        own_gradients(fusion, of=None)


def test_each_stage_adds_its_budget(job):
    stage = {"use": "learns", "own": 1}
    assert job(fusion={"use": "learns", "own": 1, "followed_by": [stage]})["gradients"] == 18
    with pytest.raises(BudgetError, match=r"took 27 optimizer steps of its own .* its budget is 18 for both$"):
        job(fusion={"use": "learns", "own": 1, "followed_by": [stage | {"own": 2}]})


def test_recomputed_activations_cost_no_more(job):
    assert job({"use": "recomputes"})["gradients"] == 9


def test_two_gradients_a_step_are_two(job):
    sam = job("sam")
    assert sam["steps"] == 2 * (9 // 2)
    assert sam["gradients"] == 2 * (9 // 2)


def test_effort_counts_what_is_done_by_whatever_name():
    weight = torch.ones(2, requires_grad=True)
    optimizer, effort = torch.optim.SGD([weight], lr=0.1), Effort()
    with effort.counting():
        weight.sum().backward()
        torch.autograd.backward(weight.sum())
        torch.autograd.grad(weight.sum(), weight)
        torch.func.grad(torch.sum)(weight)
        optimizer.step()
        with effort.not_own():
            optimizer.step()
            effort.own_again(optimizer.step)()
    optimizer.step()
    weight.sum().backward()
    assert (effort.gradients, effort.own_gradients, effort.own_steps) == (4, 4, 2)
