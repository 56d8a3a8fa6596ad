"""Net, CombineOutputs and the arithmetic on state dicts."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from finefuse import nets
from finefuse.errors import NotApplicable
from finefuse.types import Data, Member, Recipe


def test_stages_and_head_hold_every_parameter_once(lab):
    net = lab.cnn()
    held = [id(p) for part in [*net.stages, net.head] for p in part.parameters()]
    assert sorted(held) == sorted(id(p) for p in net.parameters())


def test_forward_is_the_head_of_the_features(lab):
    net, x = lab.cnn(), torch.randn(3, 1, 8, 8)
    assert torch.equal(net(x), net.head(net.features(x)))


def test_a_new_head_has_the_size_asked_for_and_leaves_the_stages(lab):
    net = lab.mlp()
    before = lab.state(net.stages)
    net.replace_head(7)
    assert net(torch.randn(2, 4)).shape == (2, 7)
    assert lab.changed(before, net.stages) == set()


def test_a_net_without_recipe_has_the_usual_one():
    assert nets.Net([nn.Identity()], nn.Linear(2, 2)).recipe == Recipe()


def test_under_mixed_precision_only_the_members_are_computed_in_it(lab):
    members, x, kinds = [lab.mlp().eval(), lab.mlp(seed=1).eval()], torch.randn(5, 4), []

    def combine(outputs):
        kinds.append((outputs.dtype, torch.is_autocast_enabled("cpu")))
        return nets.log_probs(outputs.softmax(-1).mean(0))

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        stored = torch.stack([net(x) for net in members])
        real = nets.CombineOutputs(members, combine).eval()(x)
    assert stored.dtype == torch.bfloat16
    assert kinds == [(torch.float32, False)]
    assert torch.equal(real, combine(stored.float()))


def test_members_are_loaded_only_when_called(lab):
    loads = []

    def load():
        loads.append(1)
        return lab.mlp()

    member = Member("m", 0.0, torch.zeros(0), load)
    ensemble = nets.CombineOutputs([member, lab.mlp(seed=1)], lambda z: z.mean(0))
    assert ensemble.nets is None
    assert not loads
    x = torch.randn(5, 4)
    with torch.no_grad():
        expected = (lab.mlp().eval()(x) + lab.mlp(seed=1).eval()(x)) / 2
        assert torch.allclose(ensemble.eval()(x), expected)
        ensemble(x)
    assert loads == [1]
    assert sum(p.numel() for p in ensemble.parameters()) == 2 * sum(p.numel() for p in lab.mlp().parameters())


def test_log_probs_are_finite_and_give_the_probabilities_back():
    p = torch.tensor([[0.25, 0.75, 0.0]])
    assert nets.log_probs(p).isfinite().all()
    assert torch.allclose(nets.log_probs(p).softmax(-1), p, atol=1e-6)


def test_a_tied_vote_goes_to_the_lowest_class():
    assert nets.one_hot_votes(torch.tensor([[[0.0, 1.0, 1.0]]])).tolist() == [[[0.0, 1.0, 0.0]]]


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=4), st.integers(0, 2**31))
@settings(max_examples=30)
def test_average_is_the_weighted_sum(weights, seed):
    rng = torch.Generator().manual_seed(seed)
    states = [{"w": torch.randn(3, 2, generator=rng)} for _ in weights]
    expected = sum(w * s["w"].double() for w, s in zip(weights, states, strict=True))
    assert torch.allclose(nets.average(states, weights)["w"].double(), expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_equal_members_give_the_member_to_the_bit(lab, count):
    state = lab.cnn().state_dict()
    out = nets.average([state] * count, [1 / count] * count)
    assert all(torch.equal(out[name], tensor) for name, tensor in state.items())


def test_integer_buffers_keep_their_kind_and_the_largest_count():
    states = [{"n": torch.tensor(3)}, {"n": torch.tensor(8)}]
    out = nets.average(states, [0.5, 0.5])["n"]
    assert out.dtype == torch.int64
    assert out.item() == 8


def test_networks_of_other_shape_are_not_applicable(lab):
    one, other = lab.member(lab.mlp(), name="a"), lab.member(lab.mlp(outputs=3, inputs=4), name="b")
    wide = copy.deepcopy(other.net)
    wide.replace_head(4)
    odd = replace(other, name="wide", load=lambda: wide)
    assert len(nets.states_of([one, other])) == 2
    with pytest.raises(NotApplicable, match="members a and wide differ in architecture"):
        nets.states_of([one, odd])


def test_recalibration_gives_the_statistics_of_the_inputs_and_touches_no_parameter(lab):
    net, x = lab.cnn(), torch.randn(300, 1, 8, 8) * 3 - 1
    before = lab.state(net)
    nets.recalibrate(net, x, batch_size=300)
    touched = lab.changed(before, net)
    assert touched
    assert all("running" in name or "tracked" in name for name in touched)
    first = net.stages[0][0](x)
    assert torch.allclose(net.stages[0][1].running_mean, first.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(net.stages[0][1].running_var, first.var((0, 2, 3)), atol=1e-4)
    assert not any(module.training for module in net.modules())
    assert net.stages[0][1].momentum == 0.1


def test_recalibration_without_batchnorm_or_inputs_does_nothing(lab):
    plain, normed = lab.mlp().eval(), lab.cnn()
    before = lab.state(plain), lab.state(normed)
    nets.recalibrate(plain, torch.randn(4, 4))
    nets.recalibrate(normed, torch.zeros(0, 1, 8, 8))
    assert lab.changed(before[0], plain) == set()
    assert lab.changed(before[1], normed) == set()


def test_averaging_renews_statistics_only_where_the_weights_moved(lab):
    members = [lab.member(net, lab.IMAGES, f"m{i}") for i, net in enumerate(lab.tuned(lab.IMAGES, 2))]
    x = lab.data(lab.IMAGES, 60, 1).x
    one_hot = nets.averaged(members, [0.0, 1.0], x)
    assert lab.changed(lab.state(members[1].net), one_hot) == set()
    moved, stale = nets.averaged(members, [0.5, 0.5], x), nets.averaged(members, [0.5, 0.5], None)
    assert any("running" in name for name in lab.changed(lab.state(stale), moved))
    assert all((layer.running_var >= 0).all() for layer in nets.norm_layers(moved))


def test_averaging_leaves_the_members_alone(lab):
    members = [lab.member(net, lab.IMAGES) for net in lab.tuned(lab.IMAGES, 2)]
    before = [lab.state(m.net) for m in members]
    nets.averaged(members, [0.5, 0.5], lab.data(lab.IMAGES).x)
    assert [lab.changed(b, m.net) for b, m in zip(before, members, strict=True)] == [set(), set()]


def test_evaluation_gives_every_module_its_mode_back(lab):
    net = lab.cnn().train()
    net.stages[1].eval()
    with nets.evaluation(net):
        assert not any(m.training for m in net.modules())
        assert not torch.is_grad_enabled()
    assert net.stages[0].training
    assert not net.stages[1].training


def test_chunks_cover_everything_in_order():
    x = torch.arange(2 * nets.CHUNK + 3.0)
    sizes = []
    assert torch.equal(nets.in_chunks(lambda part: (sizes.append(len(part)), part)[1], x), x)
    assert sizes == [nets.CHUNK, nets.CHUNK, 3]


def test_quality_is_accuracy_or_minus_the_squared_error(lab):
    data = Data(torch.zeros(4, 4), torch.tensor([0, 1, 2, 2]))
    outputs = torch.eye(3)[[0, 1, 2, 0]]
    assert lab.POINTS.quality(outputs, data) == 0.75
    line = Data(torch.zeros(2, 4), torch.tensor([[1.0], [2.0]]))
    assert lab.LINE.quality(torch.tensor([[1.0], [4.0]]), line) == -2.0


@pytest.mark.parametrize(
    ("name", "kind", "settings"),
    [
        ("sgd", torch.optim.SGD, {"lr": 0.3, "momentum": 0.8, "weight_decay": 0.1, "nesterov": True}),
        ("adam", torch.optim.Adam, {"lr": 0.3, "weight_decay": 0.0}),
        ("adamw", torch.optim.AdamW, {"lr": 0.3, "weight_decay": 0.1}),
    ],
)
def test_an_optimizer_takes_from_the_recipe_what_a_group_does_not_say(name, kind, settings):
    weights = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    groups = [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.5}]
    made = nets.make_optimizer(groups, name, Recipe(lr=0.3, weight_decay=0.1, momentum=0.8))
    assert type(made) is kind
    assert settings.items() <= made.param_groups[0].items()
    assert made.param_groups[1]["lr"] == 0.5


def test_sgd_without_momentum_is_not_nesterovs():
    weight = torch.zeros(2, requires_grad=True)
    assert not nets.make_optimizer([{"params": [weight]}], "sgd", Recipe(momentum=0.0)).param_groups[0]["nesterov"]


def test_inputs_come_to_where_the_targets_are():
    class Elsewhere:
        """Inputs that tell where they are sent."""

        device = torch.device("cpu")

        def __init__(self, x):
            self.x = x

        def __getitem__(self, rows):
            return Elsewhere(self.x[rows])

        def to(self, device):
            return device, self.x

    data = Data(Elsewhere(torch.arange(12).view(6, 2)), torch.zeros(6, device="meta"))
    for rows in (torch.tensor([4, 1]), slice(1, 3)):
        device, x = data.inputs(rows)
        assert device == torch.device("meta")
        assert torch.equal(x, torch.arange(12).view(6, 2)[rows])
