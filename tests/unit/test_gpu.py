"""What only a GPU can show of the parts: `pytest -m gpu`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from finefuse import Classification
from finefuse.device import default_workers, resolve_device, visible_gpus
from finefuse.engine.measure import cost, latency
from finefuse.engine.train import augment
from finefuse.engine.train.captured import MODE, Captures, CudaGraphs
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.engine.work.switches import in_force, set_up
from finefuse.nets import Net, make_optimizer
from finefuse.types import Budget, Data, Recipe, Settings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]
GPU = "cuda:0"
IMAGES = Classification(3, "image", (3, 32, 32))
GIB = 1024**3


@pytest.fixture(autouse=True)
def put_back():
    with in_force(Settings(), GPU):
        cost.warm_up(GPU)
        yield
        set_up(Settings(), GPU)


def images(n: int = 96) -> Data:
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    x = torch.rand(n, 3, 32, 32, generator=rng)
    x[torch.arange(n), y] += 0.5
    return Data(x, y)


def network() -> Net:
    torch.manual_seed(0)
    stages = [
        nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ]
    return Net(stages, nn.Linear(32, 3), Recipe("sgd", lr=0.05)).to(GPU)


def trained(data: Data | None = None, net: Net | None = None, **options: object) -> tuple[Net, SuiteTrainer]:
    net, data = net or network(), data or images().to(GPU)
    trainer = SuiteTrainer(IMAGES, data, Budget(4, 32), seed=0, **options)  # type: ignore[arg-type]
    trainer.fit(net, [{"params": net.parameters()}])
    return net, trainer


def weights(net: Net) -> Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


# ---------------------------------------------------------------------------------------------- devices and accounting


def test_auto_is_the_gpu_and_every_gpu_has_a_worker():
    assert resolve_device("auto") == "cuda"
    assert visible_gpus() == torch.cuda.device_count() == default_workers("cuda", 1)
    assert default_workers(GPU, 1) == 1


def test_the_stopwatch_waits_for_the_device():
    x = torch.randn(4096, 4096, device=GPU)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with cost.Stopwatch(GPU) as watch:
        start.record()
        for _ in range(50):
            x @ x
        end.record()
    assert watch.seconds * 1000 >= start.elapsed_time(end) > 5


def test_latency_is_that_of_the_device():
    model, x = nn.Sequential(*[nn.Linear(4096, 4096, bias=False) for _ in range(20)]).to(GPU), torch.randn(4096, 4096)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    measured = latency.measure_latency(model, x.to(GPU), "fp32")
    with torch.no_grad():
        start.record()
        model(x.to(GPU))
        end.record()
    torch.cuda.synchronize()
    assert measured.p50 * 1000 > 0.5 * start.elapsed_time(end) > 2
    assert not measured.contended


def test_the_peak_of_memory_is_the_blocks_own():
    torch.ones(GIB // 4, device=GPU).sum()
    with cost.Stopwatch(GPU) as watch:
        torch.ones(GIB // 16, device=GPU).sum()
    assert watch.peak_memory is not None
    assert GIB // 4 <= watch.peak_memory < GIB // 2


def test_the_machine_names_its_gpu():
    assert torch.cuda.get_device_name(0) in cost.machine_id()


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimizers_are_fused(name):
    assert make_optimizer([{"params": list(network().parameters())}], name, Recipe()).defaults["fused"] is True


def test_the_same_bits_every_time_and_wherever_inputs_lie():
    once, again = weights(trained()[0]), weights(trained()[0])
    assert torch.equal(once, again)
    data = images()
    on_host = weights(trained(Data(data.x, data.y.to(GPU)))[0])
    assert torch.equal(once, on_host)


def test_the_gpu_trains_what_the_processor_trains():
    data, net = images(), network().cpu()
    trainer = SuiteTrainer(IMAGES, data, Budget(4, 32), seed=0)
    trainer.fit(net, [{"params": net.parameters()}])
    assert torch.allclose(weights(net), weights(trained()[0]).cpu(), atol=1e-4)


def test_bf16_and_channels_last_train_in_their_own_precision():
    seen = []
    net = network()
    net.to(memory_format=torch.channels_last)
    net.stages[0].register_forward_hook(lambda _, __, out: seen.append(out))
    trained(net=net, precision="bf16", channels_last=True)
    assert {out.dtype for out in seen} == {torch.bfloat16}
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in seen)
    assert weights(net).dtype == torch.float32
    assert torch.allclose(weights(net), weights(trained()[0]), atol=0.1)


def test_products_are_rounded_to_tf32_only_if_the_suite_says_so():
    a = torch.randn(512, 512, device=GPU)
    exact = a.double() @ a.double()

    def apart(tf32: bool) -> float:
        set_up(Settings(tf32=tf32), GPU)
        return float((a @ a - exact).norm() / exact.norm())

    assert apart(False) < 1e-6 < 1e-4 < apart(True)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled_networks_train_alike(mode):
    compiled, plain = weights(trained(compile_mode=mode)[0]), weights(trained()[0])
    assert not torch.equal(compiled, plain)
    assert torch.allclose(compiled, plain, atol=1e-2)


class NoGraphs:
    """Lets every step be taken eagerly, within the same mode."""

    def capture(self, _: object) -> Callable[[], None]:
        raise RuntimeError("not here")

    def wait(self) -> None:
        torch.cuda.synchronize()


@pytest.mark.parametrize("options", [{}, {"precision": "bf16", "channels_last": True}])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_steps_as_graphs_leave_the_bits_of_eager_ones(optimizer, options):
    data, trained_ = images().to(GPU), []
    for graphs in (CudaGraphs(), NoGraphs()):
        net = network()
        net.recipe = Recipe(optimizer, lr=0.01)
        net.stages.append(nn.Dropout(0.2))
        trainer = SuiteTrainer(IMAGES, data, Budget(20, 32), seed=0, compile_mode=MODE, **options)
        trainer.captures = Captures(graphs)
        trainer.fit(net, [{"params": net.parameters()}])
        trained_.append((weights(net), trainer.captures))
    assert torch.equal(trained_[0][0], trained_[1][0])
    assert trained_[0][1].replayed > 0, trained_[0][1].reasons
    assert trained_[1][1].replayed == 0


def test_float16_trains_alike():
    net = network()
    _, trainer = trained(net=net, precision="fp16")
    assert trainer.scale is not None
    assert trainer.scale.skipped < trainer.budget
    assert torch.allclose(weights(net), weights(trained()[0]), atol=0.1)


@pytest.mark.parametrize("name", ["flip", "crop", "randaugment", "mixup", "cutmix"])
def test_images_are_changed_on_the_device(name):
    pytest.importorskip("torchvision")
    x, y = (images().x * 100).to(torch.uint8).to(GPU), images().y.to(GPU)
    new, targets = augment.augmentation([name], IMAGES)(x, y)
    assert (new.device, targets.device, new.shape, new.dtype) == (x.device, y.device, x.shape, x.dtype)
    assert not torch.equal(new, x)


# ------------------------------------------------------------------------------------------------------- out of memory


class Hungry(nn.Module):
    """Half a GiB for every example."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.new_ones(()).expand(len(x), GIB // 8)
        return x + (wide * x.mean((1, 2, 3))[:, None]).mean(1)[:, None, None, None]


@pytest.fixture
def little_memory():
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 12 * GIB) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def hungry() -> Net:
    net = network()
    net.stages[0] = nn.Sequential(Hungry(), net.stages[0])
    return net


def test_out_of_memory_is_tried_once_more_in_halves(little_memory):
    net, trainer = trained(net=hungry(), accumulate=True)
    assert (trainer.pieces, trainer.spent) == (2, trainer.budget)
    assert weights(net).isfinite().all()


def test_without_leave_to_do_so_it_is_an_error(little_memory):
    with pytest.raises(torch.OutOfMemoryError):
        trained(net=hungry())
