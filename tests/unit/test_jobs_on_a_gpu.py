"""Whole jobs on a pretended GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from finefuse.engine.measure import cost, latency
from finefuse.engine.measure.scores import score_of
from finefuse.engine.order import Order
from finefuse.engine.precision import as_memory_format
from finefuse.engine.train.augment import augmentation
from finefuse.engine.work import loading, room
from finefuse.engine.work.switches import WORKSPACE, current, in_force, refuse_emulated, set_up
from finefuse.engine.work.workbench import Workbench
from finefuse.errors import FinefuseError
from finefuse.tasks import Classification
from finefuse.testing.small import IMAGES, small_data, small_net, small_trainer
from finefuse.types import Settings
from helpers.pretending import PretendedGpu, pretended_gpu


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    monkeypatch.setenv(WORKSPACE, ":4096:8")
    monkeypatch.setattr(latency, "SECONDS", 0.0)
    cost.warm_up.cache_clear()
    with in_force(Settings(), "cpu"), pretended_gpu() as gpu:
        yield gpu
    cost.warm_up.cache_clear()


def rows_of(shop: Any, monkeypatch: pytest.MonkeyPatch, *, on_host: bool) -> list[dict[str, Any]]:
    if on_host:
        monkeypatch.setattr(room, "SHARE", 0.0)
    rows: list[dict[str, Any]] = shop.run(device="cuda:0")
    assert [row["status"] for row in rows] == ["ok"] * len(rows)
    return rows


def test_inputs_that_stay_on_the_host_are_no_trouble_to_any_job(
    gpu: PretendedGpu, workshop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, timed = [], latency.measure_latency
    monkeypatch.setattr(latency, "measure_latency", lambda m, x, p: seen.append(x.device) or timed(m, x, p))
    rows = rows_of(workshop(schemes=["full"], fusions=["soup"], latency=[2]), monkeypatch, on_host=True)
    assert {row["kind"] for row in rows} == {"pretrain", "tune", "fuse", "pool", "time"}
    assert set(seen) == {torch.device("cuda:0")}


@pytest.mark.slow
def test_inputs_that_stay_on_the_host_change_no_row(
    gpu: PretendedGpu, workshop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = {}
    for on_host in (False, True):
        shop = workshop()
        shop.store = tmp_path / str(on_host)
        rows[on_host] = rows_of(shop, monkeypatch, on_host=on_host)
    for one, other in zip(*rows.values(), strict=True):
        same = {name for name in one if name.startswith(("test.", "flops", "outputs", "structure", "member"))}
        assert {name: one[name] for name in same} == {name: other[name] for name in same}


@dataclass(frozen=True)
class Where:
    """A metric that says where it is computed."""

    kinds = ("classification",)
    higher_is_better = True

    def score(self, outputs: torch.Tensor, y: torch.Tensor) -> float:
        return float(outputs.is_cuda or y.is_cuda)


def test_metrics_are_computed_on_the_processor(gpu: PretendedGpu) -> None:
    outputs, y = torch.eye(3, device="cuda:0"), torch.arange(3, device="cuda:0")
    assert score_of("where", Where(), outputs, y) == 0.0


def test_what_a_plugin_does_on_cuda_is_done_on_the_job_s_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext(entered.append(device)))
    for device in ("cuda:1", "cpu"):
        with current(device):
            pass
    assert entered == ["cuda:1"]


@pytest.mark.parametrize(
    ("models", "named"),
    [(["A", "A"], ["2 x A, CUDA", "2 x A, CUDA"]), (["A", "B"], ["A (of A, B), CUDA", "B (of A, B), CUDA"])],
)
def test_the_machine_names_the_gpu_in_use(models: list[str], named: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"is_available": lambda: True, "device_count": lambda: 2, "get_device_name": models.__getitem__}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    cost._machine.cache_clear()
    for n in range(2):
        monkeypatch.setattr(torch.cuda, "current_device", lambda n=n: n)
        assert cost.machine()["gpu"].startswith(named[n])
        assert named[n] in cost.machine_id()
    cost._machine.cache_clear()


# ------------------------------------------------------------------------------------------------ memory


def test_one_budget_is_for_all_data_sets_of_a_job_and_of_what_is_free(
    gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 1_000_000))
    one = room.Room()
    one.begin("cuda:0", 1)
    assert [one.take(size) for size in (1500, 600, 500, 1, 0)] == [True, False, True, False, True]
    one.begin("cuda:0", 4)
    assert [one.take(size) for size in (501, 500)] == [False, True]
    one.begin("cpu", 1)
    assert not one.take(1)


def test_of_a_further_test_set_only_the_test_examples_are_uploaded(
    gpu: PretendedGpu, workshop: Callable[..., Any]
) -> None:
    shop = workshop(schemes=["full"], fusions=[], pools={}, latency=[], also_test=[{"use": "points", "centres": 7}])
    job = next(job for job in shop.jobs if job.kind == "tune")
    room.room.begin("cuda:0", 1)
    bench = Workbench(shop.order(job, device="cuda:0"))
    splits = bench.loaded(job.also_test[0], job.seed, "test").splits
    assert bench.more_tests == {str(job.also_test[0]): splits.test}
    assert splits.test.x.is_cuda
    assert not splits.train.x.is_cuda
    assert not splits.val.y.is_cuda
    loading.loaded.cache_clear()


def test_jobs_are_told_how_many_share_their_gpu(fake: ModuleType, tmp_path: Path) -> None:
    seen = []

    def call(order: Order) -> dict[str, Any]:
        seen.append((order.device, order.beside))
        return dict(fake.carry_out_fine(order))

    plan = fake.plan(*map(fake.job, "ab"))
    fake.run(plan, tmp_path, fake.Inline(parallel=True), device="cuda:0", workers=3, call=call)
    assert seen == [("cuda:0", 3)] * 2


@pytest.mark.parametrize("callers", [0, 500])
def test_the_peak_of_a_job_is_without_what_earlier_ones_or_the_caller_left(
    gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch, callers: int
) -> None:
    library, left, invert = 100, 1000, torch.linalg.inv
    held = {"now": callers}

    def loads_a_library(matrix: torch.Tensor) -> torch.Tensor:
        held["now"] += library
        return invert(matrix)

    monkeypatch.setattr(torch.linalg, "inv", loads_a_library)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device=None: held["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: held["now"] + 50)
    peaks = []
    for more in (0, left):
        cost.warm_up("cuda:0")
        held["now"] += more
        cost.begin_job("cuda:0")
        with cost.Stopwatch("cuda:0") as watch:
            pass
        peaks += [watch.peak_memory, cost.peak_memory("cuda:0")]
    assert peaks == [library + 50] * 4
    cost.begin_job("cpu")


# ------------------------------------------------------------------------------------------------ precision and layout


def test_bfloat16_that_would_be_emulated_is_refused(gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    for settings, device in ((Settings(precision="bf16"), "cpu"), (Settings(), "cuda:0")):
        refuse_emulated(settings, device)
    with pytest.raises(FinefuseError, match="the GPU Pretended has no bfloat16"):
        refuse_emulated(Settings(precision="bf16"), "cuda:0")


def test_crops_come_in_the_usual_order_of_axes(gpu: PretendedGpu) -> None:
    x = torch.rand(4, 3, 8, 8, device="cuda:0")
    cropped, _ = augmentation(["crop"], Classification(2, "image", (3, 8, 8)))(x, torch.zeros(4, device="cuda:0"))
    assert not cropped.is_contiguous()
    assert as_memory_format(cropped, False).is_contiguous()
    assert as_memory_format(cropped, True).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(as_memory_format(cropped, False), cropped)


def test_bits_do_not_rest_on_memory_that_deterministic_mode_would_fill(gpu: PretendedGpu) -> None:
    trained = []
    for fill in (True, False):
        set_up(Settings(), "cuda:0")
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.utils.deterministic.fill_uninitialized_memory
        torch.utils.deterministic.fill_uninitialized_memory = fill
        net = small_net(IMAGES).to("cuda:0")
        gpu.operations.clear()
        small_trainer(IMAGES, small_data(IMAGES).to("cuda:0")).fit(net, [{"params": net.parameters()}])
        trained.append(torch.cat([tensor.flatten() for tensor in net.state_dict().values()]))
    assert torch.equal(*trained)
