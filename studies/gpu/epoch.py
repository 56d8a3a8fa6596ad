"""Times one epoch of ResNet-18 on 50,000 images of 32x32 on a GPU, finefuse's trainer against a bare loop.

The trainer takes steps eagerly, and as graphs (`compile = "cuda-graphs"`).

    python studies/gpu/epoch.py [ROUNDS [BEGINNING OF A SETTING'S NAME]]
    python studies/gpu/epoch.py overhead

The second needs no GPU: what the trainer adds to a step, seen with a network of two linear layers on the processor.

All do the same: bytes on the device, normalised there, batches of 128 in one order, SGD with Nesterov momentum by the
fused optimizer, cosine schedule. The trainer, eagerly, and the loop leave the same bits where algorithms are
deterministic, which is checked; graphs read rates as float32, and are checked against eager steps as they run. In each
round all take turns.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import torch
import torchvision
from torch import nn

from finefuse import Classification
from finefuse.engine.measure.cost import Stopwatch, machine, warm_up
from finefuse.engine.randomness import seeded
from finefuse.engine.train.batches import batch_order
from finefuse.engine.train.captured import MODE
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.engine.work.switches import set_up
from finefuse.nets import Net
from finefuse.types import Budget, Data, Settings
from finefuse_zoo.backbones.vision import Torchvision

IMAGES, BATCH, DEVICE, SEED = 50_000, 128, "cuda:0", 0
STEPS = IMAGES // BATCH
TASK = Classification(10, "image", (3, 32, 32))
WAYS = {
    "float32, deterministic (the default)": Settings(),
    "float32, TF32, channels last": Settings(tf32=True, channels_last=True),
    "bf16, channels last": Settings(precision="bf16", tf32=True, channels_last=True),
    "bf16, channels last, not deterministic": Settings(
        precision="bf16", tf32=True, channels_last=True, deterministic=False
    ),
}
"""Settings of a suite, by what to call them."""


def network(settings: Settings) -> Net:
    """ResNet-18 with random weights, as the backbone `torchvision` makes it."""
    with seeded(SEED):
        net = Torchvision("resnet18", weights="none").build(TASK)
    net.to(DEVICE)
    return net.to(memory_format=torch.channels_last) if settings.channels_last else net


def engine(net: Net, data: Data, settings: Settings) -> None:
    """The trainer of finefuse, called as `full` calls it."""
    trainer = SuiteTrainer(
        TASK,
        data,
        Budget(epochs=1, batch_size=BATCH),
        seed=SEED,
        precision=settings.precision,
        channels_last=settings.channels_last,
        compile_mode=settings.compile,
    )
    trainer.fit(net, [{"params": net.parameters()}], steps=STEPS)
    if trainer.captures is not None and trainer.captures.reasons:
        print(f"not replayed: {'; '.join(trainer.captures.reasons)}", file=sys.stderr)


def graphs(net: Net, data: Data, settings: Settings) -> None:
    """The same by graphs of whole steps."""
    engine(net, data, replace(settings, compile=MODE))


def bare(net: Net, data: Data, settings: Settings) -> None:
    """What a person would write who knows what makes a loop fast."""
    net.train()
    recipe, half = net.recipe, settings.precision == "bf16"
    optimizer = torch.optim.SGD(
        net.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
        fused=data.y.is_cuda or None,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / STEPS)))
    order = torch.cat(list(islice(batch_order(IMAGES, BATCH, SEED), STEPS))).to(data.y.device)
    for rows in order.split(BATCH):
        x = data.x[rows]
        if settings.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            loss = nn.functional.cross_entropy(net(x).float(), data.y[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()


def timed(way: Callable[[Net, Data, Settings], None], data: Data, settings: Settings) -> tuple[float, Net]:
    """Seconds, and the network that was trained."""
    net = network(settings)
    with Stopwatch(DEVICE) as watch:
        way(net, data, settings)
    return watch.seconds, net


def same_bits(one: Net, other: Net) -> bool:
    """Whether all parameters agree to the last bit."""
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def main(rounds: int, beginning: str = "") -> None:
    """Measure and print a Markdown table."""
    rng = torch.Generator().manual_seed(SEED)
    x = torch.randint(256, (IMAGES, 3, 32, 32), generator=rng, dtype=torch.uint8)
    data = Data(x, torch.randint(10, (IMAGES,), generator=rng)).to(DEVICE)
    facts = machine()
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{facts['gpu']}, {versions}; medians of {rounds} rounds\n")
    print(
        "| settings | finefuse, s | graphs, s | bare loop, s | finefuse / bare | graphs / bare | images/s | same bits |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, settings in WAYS.items():
        if not name.startswith(beginning):
            continue
        set_up(settings, DEVICE)
        warm_up(DEVICE)
        timed(engine, data, settings)
        taken: dict[str, list[float]] = {}
        nets: dict[str, Net] = {}
        for _ in range(rounds):
            for way in (engine, graphs, bare):
                seconds, nets[way.__name__] = timed(way, data, settings)
                taken.setdefault(way.__name__, []).append(seconds)
        ours, replayed, its = (statistics.median(each) for each in taken.values())
        told = "yes" if same_bits(nets["engine"], nets["bare"]) else "no"
        speed = STEPS * BATCH / min(ours, replayed)
        ratios = f"{ours / its:.3f} | {replayed / its:.3f}"
        print(f"| {name} | {ours:.2f} | {replayed:.2f} | {its:.2f} | {ratios} | {speed:,.0f} | {told} |", flush=True)


def overhead(rounds: int = 7) -> None:
    """Print microseconds of the processor for each step."""
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(SEED)
    data = Data(torch.randn(IMAGES, 4, generator=rng), torch.randint(10, (IMAGES,), generator=rng))
    taken: dict[str, list[float]] = {"finefuse": [], "bare loop": []}
    for _ in range(rounds):
        for name, way in (("finefuse", engine), ("bare loop", bare)):
            with seeded(SEED):
                net = Net([nn.Linear(4, 4)], nn.Linear(4, 10))
            with Stopwatch("cpu") as watch:
                way(net, data, Settings())
            taken[name].append(watch.cpu_seconds / STEPS * 1e6)
    print(", ".join(f"{name}: {statistics.median(each):.0f} us a step" for name, each in taken.items()))


if __name__ == "__main__":
    asked = sys.argv[1:]
    overhead() if asked == ["overhead"] else main(int(asked[0]) if asked else 5, *asked[1:2])
