"""Frozen stages whose outputs are shared: by everything that may change a bit of them, and by nothing else."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from finefuse.discovery.registry import Registry
from finefuse.engine.order import Order
from finefuse.engine.store.computed import Computed
from finefuse.engine.train import shared as module
from finefuse.engine.work import sharing
from finefuse.errors import FinefuseError
from finefuse.nets import CombineFeatures, Net
from finefuse.types import Job, Ref, Settings
from helpers.runs import FIXTURES
from helpers.sharing import Counting, network, shares, trainer_of


@pytest.fixture
def sharing_all(tmp_path, monkeypatch):
    """Makes what jobs with these parts share, whatever it is worth."""
    monkeypatch.setattr(module, "WORTH", 1)
    Counting.calls = 0
    return partial(shares, tmp_path)


def test_forty_heads_on_one_body_take_its_outputs_once_with_the_same_bits(lab, sharing_all):
    x = torch.randn(1100, 4)
    for head in range(40):
        ours = network(head=head)
        out = trainer_of(lab, sharing_all(network())).scored(ours, x)
        before = Counting.calls
        assert torch.equal(out, lab.trainer().outputs(ours, x))
        Counting.calls = before
    assert Counting.calls == 3  # chunks of 512, 512 and 76


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_has_the_bits_of_its_own_from_the_stage_on_where_it_differs(lab, sharing_all, precision):
    x = torch.randn(600, 4)
    for stage in (None, 2, 1, 0, None):
        ours = network()
        if stage is not None:
            for p in ours.stages[stage].parameters():
                p.data.add_(0.5)
        shared = sharing_all(network(), precision=precision)
        out = trainer_of(lab, shared, precision=precision).scored(ours, x)
        assert torch.equal(out, lab.trainer(precision=precision).outputs(ours, x))


def test_images_have_their_bits_in_both_orders_in_memory(lab, sharing_all):
    x = torch.randint(256, (530, 3, 9, 9), dtype=torch.uint8).float()
    for last in (False, True):
        stages = [nn.Conv2d(3, 8, 3), nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3), nn.Flatten())]
        torch.manual_seed(0)
        ours = Net(stages, nn.Linear(200, 3)).eval()
        if last:
            ours.to(memory_format=torch.channels_last)
        for _ in range(2):
            shared = sharing_all(ours, last=str(last))
            out = trainer_of(lab, shared, channels_last=last).scored(ours, x)
            assert torch.equal(out, lab.trainer(channels_last=last).outputs(ours, x))


OTHERS = {
    "examples": lambda net, x: (net, x + 1),
    "their order in memory": lambda net, x: (net, x.T.contiguous().T),
    "fewer examples": lambda net, x: (net, x[:-1]),
    "their kind": lambda net, x: (net.double(), x.double()),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_other_examples_are_no_others(lab, sharing_all, other):
    net, x = network(), torch.randn(20, 4)
    trainer_of(lab, sharing_all(net)).scored(net, x)
    net, x = other(net, x)
    Counting.calls = 0
    trainer_of(lab, sharing_all(net)).scored(net, x)
    assert Counting.calls == 1


@pytest.mark.parametrize("parts", [{"threads": "2"}, {"torch": "3"}, {"precision": "bf16"}])
def test_other_surroundings_are_no_others(lab, sharing_all, parts):
    net, x = network(), torch.randn(20, 4)
    for given in ({}, parts, {}, parts):
        trainer_of(lab, sharing_all(net, **given)).scored(net, x)
    assert Counting.calls == 2


def _statistics(net):
    net.stages[1][1].running_mean.add_(1)


def _hook(net):
    net.stages[0].register_forward_hook(lambda _, __, out: out * 0)


def _forward(net):
    net.stages[0].forward = lambda x: torch.zeros(len(x), 8)


def _settings(net):
    net.stages[1][1].eps = 0.5


def _training(net):
    net.stages[1][1].train = lambda mode=True: net.stages[1][1]  # stays in training mode
    net.stages[1][1].training = True


def _hook_of_all(net):
    net.register_forward_hook(lambda _, __, out: out * 0)


@pytest.mark.parametrize("change", [_statistics, _hook, _forward, _settings, _training, _hook_of_all])
def test_a_frozen_stage_that_behaves_otherwise_gets_its_own_outputs(lab, sharing_all, change):
    x = torch.randn(20, 4)
    plain = trainer_of(lab, sharing_all(network())).scored(network(), x)
    ours, twin = network(), network()
    change(ours)
    change(twin)
    out = trainer_of(lab, sharing_all(network())).scored(ours, x)
    assert torch.equal(out, lab.trainer().outputs(twin, x))
    assert not torch.equal(out, plain)
    assert torch.equal(trainer_of(lab, sharing_all(network())).scored(network(), x), plain)


def test_a_fusion_of_features_reads_what_its_members_left_and_keeps_nothing_itself(lab, sharing_all, tmp_path):
    x = torch.randn(600, 4)
    members, other = [network(head=0), network(head=1)], network(seed=3)
    for p in members[1].stages[2].parameters():
        p.data.add_(0.5)
    for member in members:
        trainer_of(lab, sharing_all(network())).scored(member, x)
    kept = sorted((tmp_path / "shared").glob("??/*"))
    head = nn.Linear(18, 3)
    fused = CombineFeatures([*members, other], lambda features: head(torch.cat(features, -1))).eval()
    Counting.calls = 0
    with torch.no_grad():
        out = trainer_of(lab, sharing_all(None)).scored(fused, x)
        assert Counting.calls == 2  # of the other's two chunks
        assert torch.equal(out, lab.trainer().outputs(fused, x))
    assert sorted((tmp_path / "shared").glob("??/*")) == kept


def test_an_averaged_network_reads_up_to_the_stage_where_it_differs(lab, sharing_all):
    x, ours = torch.randn(600, 4), network()
    for stage in (2, 1):
        last = network()
        for p in last.stages[stage].parameters():
            p.data.add_(0.5)
        trainer_of(lab, sharing_all(network())).scored(last, x)
    for p in ours.stages[2].parameters():
        p.data.add_(0.25)
    Counting.calls = 0
    out = trainer_of(lab, sharing_all(None)).scored(ours, x)
    assert Counting.calls == 0
    assert torch.equal(out, lab.trainer().outputs(ours, x))


def _hooked(fused):
    fused.bodies[0].register_forward_hook(lambda _, __, out: out * 0)


def _own_forward(fused):
    fused.forward = lambda x: x[:, :3] * 0


@pytest.mark.parametrize("change", [_hooked, _own_forward])
def test_a_fusion_with_code_of_its_own_gets_its_own_outputs(lab, sharing_all, change):
    x, head = torch.randn(20, 4), nn.Linear(6, 3)
    trainer_of(lab, sharing_all(network())).scored(network(), x)
    fused = CombineFeatures([network()], lambda features: head(features[0])).eval()
    change(fused)
    assert torch.equal(trainer_of(lab, sharing_all(None)).scored(fused, x), lab.trainer().outputs(fused, x))


def test_nothing_is_kept_where_nothing_is_frozen_or_it_takes_no_time(lab, sharing_all, tmp_path, monkeypatch):
    ours = network(seed=1)
    x = torch.randn(20, 4)
    trainer_of(lab, sharing_all(network())).scored(ours, x)
    monkeypatch.setattr(module, "WORTH", 10**8)
    trainer_of(lab, sharing_all(network())).scored(network(), x)
    assert not (tmp_path / "shared").exists()


def one_job(scheme="linear-probe", backbone="mlp-table", dataset="diabetes"):
    return Job("tune", Ref(backbone), Ref(dataset), Ref(scheme), metrics=(Ref("r2"),))


def order_of(tmp_path, job, device="cpu", **settings):
    return Order(job, "s", Settings(**settings), (), device, str(tmp_path), ())


def shared_by(tmp_path, job, doors=(), tried=None, **how):
    order = order_of(tmp_path, job, **how)
    return sharing.shared_stages(order, Registry(doors), network(), scheme=tried)


def test_jobs_of_what_came_with_finefuse_share(tmp_path):
    shared = shared_by(tmp_path, one_job())
    assert shared is not None
    assert shared.code["finefuse_zoo"] is None  # its source files count
    assert shared.parts == shared_by(tmp_path, one_job("full")).parts
    others = [{"threads": 2}, {"precision": "bf16"}, {"channels_last": True}, {"deterministic": False}]
    for other in others:
        assert shared_by(tmp_path, one_job(), **other).parts != shared.parts


def test_jobs_with_code_from_outside_and_those_on_a_gpu_do_not(tmp_path, monkeypatch):
    tiny = str(FIXTURES / "plugins" / "tiny.py")
    for job in (one_job(backbone="tiny"), one_job(dataset="points"), one_job(scheme="nowhere")):
        assert shared_by(tmp_path, job, (tiny,)) is None
    assert shared_by(tmp_path, one_job(), device="cuda:0") is None
    assert shared_by(tmp_path, one_job(), accumulate=True) is None
    assert shared_by(tmp_path, one_job(), tried=Ref("nowhere")) is None
    inside = Ref.of("chain", of=["linear-probe", "nowhere"])
    assert shared_by(tmp_path, one_job(), tried=inside) is None
    monkeypatch.setenv("FINEFUSE_SHARED_GIB", "0")
    assert shared_by(tmp_path, one_job()) is None


@pytest.mark.parametrize("said", ["much", "-1", "nan", "inf"])
def test_a_wrong_number_of_gib_is_refused_before_anything_runs(tmp_path, monkeypatch, said):
    import finefuse

    monkeypatch.setenv("FINEFUSE_SHARED_GIB", said)
    suite = {"name": "s", "datasets": ["diabetes"], "backbones": ["mlp-table"], "schemes": ["linear-probe"]}
    with pytest.raises(FinefuseError, match=f"FINEFUSE_SHARED_GIB is '{said}'; a number from 0 was expected"):
        finefuse.run(suite, out=tmp_path / "out", store=tmp_path / "store", workers=0, quiet=True)
    assert not (tmp_path / "out").exists()


LAST = {"use": "selective", "as": "last", "k": 1}
SUITE = {
    "name": "s", "datasets": ["diabetes"], "backbones": ["mlp-table"], "metrics": ["r2"], "budget": {"epochs": 2},
    "schemes": ["linear-probe", "head-sgd", LAST], "latency": [],
    "fusions": ["concat-features", "soup"], "pools": {"two": {"of": ["linear-probe", "head-sgd"]}},
}  # fmt: skip


def told(rows):
    """What rows say of how good the outputs are."""
    wanted = ("test.", "val.", "last.", "best.", "peek.", "outputs", "losses", "correct", "figure.", "flops", "steps")
    return [{k: v for k, v in row.items() if k == "cell" or k.startswith(wanted)} for row in rows]


def test_a_suite_has_the_same_rows_and_computes_frozen_stages_once_per_network_and_examples(
    fixture_module, tmp_path, monkeypatch
):
    made, really = [], Computed._draft

    def spied(self):
        made.append(1)
        return really(self)

    monkeypatch.setattr(Computed, "_draft", spied)
    monkeypatch.setattr(module, "WORTH", 1)
    shop = fixture_module("workshop").Workshop
    rows = shop(tmp_path / "with", SUITE).run()
    kept = [path for path in (tmp_path / "with" / "shared").glob("??/*") if path.suffix != ".lock"]
    assert len(made) == len(kept) == 2 * 3  # train, val and test, up to the last stage and up to the head
    monkeypatch.setenv("FINEFUSE_SHARED_GIB", "0")
    alone = shop(tmp_path / "without", SUITE).run()
    assert told(rows) == told(alone)
    assert [row["status"] for row in rows].count("ok") == len(rows)
    readers = {row["label"] for row in rows if "seconds_shared" in row}
    assert readers == {"head-sgd", "concat-features"}
    assert all(0 < row["seconds_shared"] < row["seconds"] for row in rows if "seconds_shared" in row)
    assert not any("seconds_shared" in row for row in alone)
    assert not (tmp_path / "without" / "shared").exists()


REAL = {
    "name": "s", "seeds": [0, 1], "budget": {"epochs": 2, "batch_size": 64}, "latency": [], "channels_last": True,
    "datasets": [{"use": "dice", "side": 32, "shots": 5, "val": 20}], "checkpoints": 2,
    "backbones": [{"use": "efficientnet-lite", "as": "lite0", "size": 0, "side": 32}],
    "schemes": ["linear-probe", "zero-step", "head-sgd", LAST, "bitfit"], "fusions": ["concat-features", "soup"],
    "pools": {"heads": {"of": ["linear-probe", "head-sgd"]}},
}  # fmt: skip


@pytest.mark.slow
def test_processes_side_by_side_give_the_rows_of_each_alone(tmp_path, monkeypatch):
    import finefuse

    def run(name, workers):
        folder = tmp_path / name
        made = finefuse.run(REAL, out=folder, store=folder / "store", workers=workers, quiet=True, reporters=())
        assert {row["status"] for row in made.rows} == {"ok"}
        return sorted(told(made.rows), key=lambda row: row["cell"]), made.rows

    shared, rows = run("one", 1)
    assert shared == run("two", 2)[0]
    assert any("seconds_shared" in row for row in rows)
    monkeypatch.setenv("FINEFUSE_SHARED_GIB", "0")
    assert shared == run("alone", 1)[0]
