"""The training loop: budget, freezing, BatchNorm policies, caching, determinism."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from finefuse.errors import BudgetError
from finefuse.types import Recipe


def groups(net, *parts):
    return [{"params": p.parameters()} for p in (parts or [net])]


def bare_loop(net, data, order, steps, recipe):
    """What anyone would write: no cache, no groups, no freezing."""
    optimizer = torch.optim.SGD(
        net.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True
    )
    net.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        rows = next(order)
        loss = nn.functional.cross_entropy(net(data.x[rows]), data.y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_full_training_has_the_bits_of_a_bare_loop(lab):
    from finefuse.engine.train.batches import batch_order

    task, data = lab.IMAGES, lab.data(lab.IMAGES, 60, 1)
    engine, bare = lab.cnn(), lab.cnn()
    trainer = lab.trainer(task, data)
    trainer.fit(engine, groups(engine))
    bare_loop(bare, data, batch_order(60, 16, 7), trainer.budget, bare.recipe)
    assert lab.changed(lab.state(bare), engine) == set()
    assert lab.changed(lab.state(lab.cnn()), engine)


def test_the_budget_is_epochs_times_examples_over_batch_size(lab):
    assert lab.trainer(epochs=4).budget == math.ceil(4 * 60 / 16)
    assert lab.trainer(epochs=1, train=lab.data(n=5)).budget == 1


def test_no_more_steps_than_the_budget_holds(lab):
    net, trainer = lab.mlp(), lab.trainer()
    trainer.fit(net, groups(net), steps=trainer.budget - 1)
    before = lab.state(net)
    with pytest.raises(BudgetError, match=f"asked for 2 steps, but 1 of {trainer.budget} are left"):
        trainer.fit(net, groups(net), steps=2)
    assert lab.changed(before, net) == set()
    trainer.fit(net, groups(net))
    assert trainer.spent == trainer.budget


def test_same_seed_same_bits_and_another_seed_other_bits(lab):
    def fitted(seed):
        net = lab.mlp()
        lab.trainer(seed=seed).fit(net, groups(net))
        return lab.state(net)

    first, again, other = fitted(1), fitted(1), fitted(2)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_global_random_state_is_left_alone(lab):
    net = lab.mlp()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    lab.trainer().fit(net, groups(net))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("norm", ["train", "affine", "eval"])
def test_frozen_stages_keep_their_bits_buffers_too(lab, norm):
    net = lab.cnn()
    before = lab.state(net)
    lab.trainer(lab.IMAGES).fit(net, groups(net, net.stages[1], net.head), norm=norm)
    touched = lab.changed(before, net)
    assert touched
    assert not any(name.startswith("stages.0.") for name in touched)


def test_frozen_stages_above_trained_ones_keep_their_bits(lab):
    net = lab.cnn()
    before = lab.state(net)
    lab.trainer(lab.IMAGES).fit(net, groups(net, net.stages[0]))
    assert all(name.startswith("stages.0.") for name in lab.changed(before, net))


def test_norm_train_renews_statistics_and_trains_scale_and_shift(lab):
    net = lab.cnn()
    before = lab.state(net)
    lab.trainer(lab.IMAGES).fit(net, groups(net), norm="train")
    touched = lab.changed(before, net)
    assert {"stages.0.1.running_mean", "stages.0.1.weight", "stages.0.1.num_batches_tracked"} <= touched


def test_norm_affine_keeps_statistics_and_trains_scale_and_shift(lab):
    net = lab.cnn()
    before = lab.state(net)
    lab.trainer(lab.IMAGES).fit(net, groups(net), norm="affine")
    touched = lab.changed(before, net)
    assert "stages.0.1.weight" in touched
    assert not any("running" in name or "tracked" in name for name in touched)


def test_norm_eval_keeps_both(lab):
    net = lab.cnn()
    before = lab.state(net)
    lab.trainer(lab.IMAGES).fit(net, groups(net), norm="eval")
    touched = lab.changed(before, net)
    assert "stages.0.0.weight" in touched
    assert not any(name.startswith(("stages.0.1", "stages.1.1")) for name in touched)


def test_a_frozen_prefix_is_evaluated_once_and_gives_the_same_network(lab):
    def fitted(cache_bytes):
        net, calls = lab.cnn(), []
        net.stages[0].register_forward_hook(lambda *_: calls.append(1))
        trainer = lab.trainer(lab.IMAGES, cache_bytes=cache_bytes)
        trainer.fit(net, groups(net, net.stages[1], net.head))
        return lab.state(net), len(calls), trainer.budget

    cached, few, _ = fitted(2**30)
    uncached, many, budget = fitted(0)
    assert few == 3  # one example and two, to learn whether that is possible, then all of them
    assert many == budget + 2
    assert all(torch.allclose(cached[k], uncached[k], atol=1e-5) for k in cached)


def test_modes_and_gradient_flags_are_given_back(lab):
    net = lab.cnn()
    net.stages[0].train()
    net.stages[1].eval()
    net.head.weight.requires_grad_(False)
    lab.trainer(lab.IMAGES).fit(net, groups(net, net.stages[0]))
    assert net.stages[0].training
    assert not net.stages[1].training
    assert not net.head.weight.requires_grad
    assert net.head.bias.requires_grad
    assert all(p.grad is None for p in net.parameters())


def test_penalty_and_loss_take_part(lab):
    def fitted(**kwargs):
        net = lab.mlp()
        lab.trainer().fit(net, groups(net), **kwargs)
        return net.head.weight.detach()

    plain = fitted()
    shrunk = fitted(penalty=lambda model, batch: 10.0 * model.head.weight.square().sum())
    assert shrunk.norm() < 0.5 * plain.norm()
    nothing = fitted(loss=lambda outputs, batch: 0.0 * outputs.sum())
    assert torch.equal(nothing, lab.mlp().head.weight)


def test_loss_is_told_which_rows_it_sees(lab):
    net, data, seen = lab.mlp(), lab.data(n=60, seed=1), []

    def loss(outputs, batch):
        assert torch.equal(data.y[batch.rows], batch.y)
        seen.extend(batch.rows.tolist())
        return nn.functional.cross_entropy(outputs, batch.y)

    lab.trainer(train=data, epochs=4).fit(net, groups(net), loss=loss)
    assert {seen.count(i) for i in range(60)} == {4}


def test_regression_minimises_the_squared_error(lab):
    net, data = lab.mlp(outputs=1), lab.data(lab.LINE, 60, 1)
    trainer = lab.trainer(lab.LINE, data, epochs=40)
    before = nn.functional.mse_loss(trainer.outputs(net, data.x), data.y)
    trainer.fit(net, groups(net))
    assert nn.functional.mse_loss(trainer.outputs(net, data.x), data.y) < 0.5 * before


def test_divergence_is_an_error(lab):
    net = lab.mlp(recipe=Recipe("sgd", lr=1e30))
    with pytest.raises(FloatingPointError, match="diverged"):
        lab.trainer().fit(net, groups(net))


def test_a_parameter_in_two_groups_is_an_error(lab):
    net = lab.mlp()
    with pytest.raises(ValueError, match="two groups"):
        lab.trainer().fit(net, groups(net, net, net.head))


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 0.1), ("adam", 0.02), ("adamw", 0.02)])
def test_every_optimizer_learns(lab, optimizer, lr):
    net, data = lab.mlp(recipe=Recipe(optimizer, lr)), lab.data(n=60, seed=1)
    trainer = lab.trainer(train=data, epochs=60)
    trainer.fit(net, groups(net))
    assert (trainer.outputs(net, data.x).argmax(-1) == data.y).float().mean() > 0.8


def test_constant_and_cosine_schedules_differ(lab):
    def fitted(schedule):
        net = lab.mlp()
        lab.trainer(schedule=schedule).fit(net, groups(net))
        return net.head.weight.detach()

    assert not torch.equal(fitted("constant"), fitted("cosine"))


def test_rates_of_groups_are_kept(lab):
    net = lab.mlp()
    before = lab.state(net)
    lab.trainer().fit(net, [{"params": net.head.parameters()}, {"params": net.stages.parameters(), "lr": 0.0}])
    assert lab.changed(before, net) == {"head.weight", "head.bias"}


def test_trainable_counts_each_parameter_once(lab):
    net, trainer = lab.mlp(), lab.trainer()
    trainer.fit(net, groups(net, net.head), steps=2)
    assert trainer.trainable == 6 * 3 + 3
    trainer.fit(net, groups(net), steps=2)
    assert trainer.trainable == sum(p.numel() for p in net.parameters())


def test_features_and_outputs_are_those_of_evaluation_mode(lab):
    net, x = lab.cnn().train(), lab.data(lab.IMAGES, 20).x
    trainer = lab.trainer(lab.IMAGES)
    before = lab.state(net)
    features = trainer.features(net, x)
    assert features.shape == (20, 6)
    assert net.training
    assert lab.changed(before, net) == set()
    assert torch.allclose(net.head(features), trainer.outputs(net, x))


def test_bf16_and_channels_last_train_in_their_own_precision(lab):
    def fitted(**kwargs):
        net = lab.cnn()
        lab.trainer(lab.IMAGES, **kwargs).fit(net, groups(net))
        return net.head.weight.detach()

    exact, rounded = fitted(), fitted(precision="bf16")
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    assert torch.allclose(exact, rounded, atol=0.1)
    assert torch.allclose(exact, fitted(channels_last=True), atol=1e-3)


def test_an_optimizer_of_ones_own_is_built_from_the_groups(lab):
    given = []

    def build(groups):
        given.extend(groups)
        return torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)

    own, usual = lab.cnn(), lab.cnn()
    lab.trainer(lab.IMAGES).fit(own, groups(own), optimizer=build)
    lab.trainer(lab.IMAGES).fit(usual, groups(usual))
    assert len(given[0]["params"]) == len(list(own.parameters()))
    assert lab.changed(lab.state(usual), own) == set()


class Twice(torch.optim.SGD):
    """Evaluates the gradient twice in every step."""

    def step(self, closure):
        closure()
        return super().step(closure)


def test_a_second_gradient_in_a_step_costs_a_second_step(lab):
    net, trainer = lab.mlp(), lab.trainer()
    trainer.fit(net, groups(net), steps=5, optimizer=lambda g: Twice(g, lr=0.1))
    assert trainer.spent == 10
    with pytest.raises(BudgetError):
        trainer.fit(net, groups(net), optimizer=lambda g: Twice(g, lr=0.1))


def test_after_every_step_the_optimizer_is_shown_with_the_rate_of_that_step(lab):
    net, trainer, rates = lab.mlp(), lab.trainer(), []
    trainer.fit(net, groups(net), steps=4, after_step=lambda o: rates.append(o.param_groups[0]["lr"]))
    rate = net.recipe.lr
    assert rates == pytest.approx([rate * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])


def rows_seen(trainer, net, **kwargs):
    """Every row number of every batch, in order."""
    batches = []

    def loss(outputs, batch):
        batches.append(batch.rows.tolist())
        return nn.functional.cross_entropy(outputs, batch.y)

    trainer.fit(net, groups(net), loss=loss, **kwargs)
    return batches


def test_with_rows_only_these_are_trained_on_each_once_per_epoch(lab):
    only = torch.tensor([3, 8, 9, 21, 30, 31, 44, 59])
    batches = rows_seen(lab.trainer(), lab.mlp(), rows=only, steps=4)
    assert [sorted(batch) for batch in batches] == [only.tolist()] * 4  # fewer than a batch: all of them, every time
    assert len({tuple(batch) for batch in batches}) > 1
    many = torch.arange(20, 52)
    epochs = rows_seen(lab.trainer(), lab.mlp(), rows=many, steps=4)
    assert [sorted(epochs[i] + epochs[i + 1]) for i in (0, 2)] == [many.tolist()] * 2


def test_rows_leave_the_order_of_the_whole_data_as_it_is(lab):
    apart, plain = lab.trainer(), lab.trainer()
    rows_seen(apart, lab.mlp(), rows=torch.arange(30), steps=3)
    assert rows_seen(apart, lab.mlp(), steps=4) == rows_seen(plain, lab.mlp(), steps=4)


def test_rows_come_in_another_order_every_time_but_with_one_seed_in_the_same(lab):
    def twice(seed):
        trainer = lab.trainer(seed=seed)
        return [rows_seen(trainer, lab.mlp(), rows=torch.arange(40), steps=2) for _ in range(2)]

    first, second = twice(7)
    assert first != second
    assert twice(7) == [first, second]
    assert twice(8)[0] != first


def test_training_on_some_rows_is_training_on_a_smaller_set(lab):
    data, only = lab.data(lab.IMAGES, 60, 1), torch.arange(5, 21)
    part, small = lab.cnn(), lab.cnn()
    lab.trainer(lab.IMAGES, data).fit(part, groups(part), rows=only, steps=5)
    smaller = data.__class__(data.x[only], data.y[only])  # of one batch: the order inside it is all that differs
    lab.trainer(lab.IMAGES, smaller, epochs=5).fit(small, groups(small))
    after = lab.state(part)
    assert all(torch.allclose(after[name], tensor, atol=1e-4) for name, tensor in lab.state(small).items())


def test_rows_spend_the_one_budget(lab):
    net, trainer = lab.mlp(), lab.trainer()
    trainer.fit(net, groups(net), rows=torch.arange(20), steps=trainer.budget)
    assert trainer.spent == trainer.budget
    with pytest.raises(BudgetError):
        trainer.fit(net, groups(net), rows=torch.arange(20), steps=1)


def test_rows_are_found_in_the_cache_of_a_frozen_prefix(lab):
    def fitted(cache_bytes):
        net = lab.cnn()
        trainer = lab.trainer(lab.IMAGES, cache_bytes=cache_bytes)
        trainer.fit(net, groups(net, net.stages[1], net.head), rows=torch.arange(30, 60))
        return lab.state(net)

    cached, uncached = fitted(2**30), fitted(0)
    assert all(torch.allclose(cached[k], uncached[k], atol=1e-5) for k in cached)


def test_no_examples_are_an_error(lab):
    net = lab.network(lab.POINTS)
    with pytest.raises(ValueError, match="there are no examples to train on"):
        lab.trainer().fit(net, [{"params": net.parameters()}], rows=torch.arange(0))
