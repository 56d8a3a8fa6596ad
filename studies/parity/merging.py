"""Merges a ResNet-50 with five members, ours against mergekit and fusion_bench in turn, and writes merging.md.

    python -m venv merging && . merging/bin/activate
    pip install . torchvision mergekit fusion-bench
    OMP_NUM_THREADS=1 python studies/parity/merging.py [METHOD ...]

Neither is a dependency: mergekit is LGPL. Every way starts from state dicts in memory and ends with one: ours with a
network, BatchNorm's statistics averaged but not renewed, which neither of the others does. Each round runs every way
once, so that what else the machine does hits all of them; before each the allocator gives back what it holds, so that
no way is lent the memory of the one before, and all pay for fresh pages as in a process that merges once. Memory is
measured apart, in a process for each package: the peak of the resident set while it merges, less what it was before, in
copies of the network.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import io
import multiprocessing
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
import torchvision
from torch import Tensor, nn

from finefuse import Classification, nets
from finefuse.declare.keys import processor
from finefuse.types import Data, Fusing, Member
from finefuse_zoo.fusions.dare import Dare
from finefuse_zoo.fusions.iso_c import IsoC
from finefuse_zoo.fusions.karcher import Karcher
from finefuse_zoo.fusions.magmax import MagMax
from finefuse_zoo.fusions.model_stock import ModelStock
from finefuse_zoo.fusions.slerp import Slerp
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.fusions.task_arithmetic import TaskArithmetic
from finefuse_zoo.fusions.ties import Ties
from finefuse_zoo.fusions.tsv_m import TsvM

MEMBERS = 5
PACKAGES = ("finefuse", "mergekit", "fusion_bench")
ROUNDS, MORE, QUICK = 3, 9, 20.0
"""Rounds of a method at least, and until they have taken QUICK seconds together, or at most."""
STEP = 0.1
"""A member is the base and noise of this share of each tensor's deviation."""
State = dict[str, Tensor]


def network(seed: int) -> nets.Net:
    """ResNet-50 in stages, its batch statistics those of a network that was used."""
    torch.manual_seed(seed)
    whole = torchvision.models.resnet50()
    stem = nn.Sequential(whole.conv1, whole.bn1, whole.relu, whole.maxpool)
    top = nn.Sequential(whole.layer4, whole.avgpool, nn.Flatten())
    return nets.Net([stem, whole.layer1, whole.layer2, whole.layer3, top], whole.fc)


def pool() -> Fusing:
    """The base and its members."""
    base, members = network(0), []
    for seed in range(1, MEMBERS + 1):
        net, rng = copy.deepcopy(base), torch.Generator().manual_seed(seed)
        for p in net.parameters():
            noise = torch.randn(p.shape, generator=rng)
            p.data.add_(noise, alpha=STEP * float(p.detach().std().nan_to_num().clamp_min(0.01)))
        members.append(net.eval())
    wrapped = [Member(f"m{i}", 0.0, torch.empty(0), lambda net=net: net) for i, net in enumerate(members)]
    empty = Data(torch.empty(0, 3, 32, 32), torch.empty(0, dtype=torch.long))
    task = Classification(1000, "image", (3, 32, 32))
    return Fusing(task, wrapped, torch.Generator().manual_seed(0), train=empty, base=base.eval())


def parameters(net: nn.Module) -> State:
    """Name and tensor of every parameter."""
    return {name: p.detach() for name, p in net.named_parameters()}


def flat(state: Mapping[str, Tensor]) -> State:
    """Convolutions as matrices, which is how ours reads them and what makes fusion_bench decompose them."""
    return {name: tensor.flatten(1) if tensor.ndim > 2 else tensor for name, tensor in state.items()}


def ours(fusion: Any, count: int = MEMBERS) -> Callable[[Fusing], State]:
    """One of finefuse's."""

    def run(of: Fusing) -> State:
        few = Fusing(of.task, of.members[:count], torch.Generator().manual_seed(0), train=of.train, base=of.base)
        return parameters(fusion.fuse(few))

    return run


def mergekit(
    name: str, base: bool = True, count: int = MEMBERS, weight: Any = None, **more: Any
) -> Callable[..., State]:
    """One of mergekit's, as its own executor calls it, a tensor at a time."""

    def run(of: Fusing) -> State:
        from mergekit.merge_methods import registry
        from mergekit.merge_methods.base import TensorGroup

        method = registry.get(name)
        states = [parameters(m.net) for m in of.members[:count]]
        states = [parameters(of.base), *states] if base and of.base is not None else states
        at = 0 if base or name == "slerp" else None
        made = {}
        for key in states[0]:
            group = TensorGroup.from_tensors([state[key] for state in states], base_index=at, name=key)
            given = dict(more)
            for what, value in (("weight", weight), ("density", more.get("density"))):
                if value is not None:
                    given[what] = per_input({i: value for i in range(len(states)) if i != at})
            made[key] = method([group], parameters=given)[0]
        return made

    return run


def per_input(values: dict[int, float]) -> Any:
    """Make the values that mergekit takes for each input."""
    from mergekit.merge_methods.base import PerInputValues

    return PerInputValues(list(values.items()))


def fusion_bench(call: Callable[[State, list[State]], State], count: int = MEMBERS) -> Callable[[Fusing], State]:
    """One of fusion_bench's, on state dicts, without what it prints."""

    def run(of: Fusing) -> State:
        assert of.base is not None
        with contextlib.redirect_stdout(io.StringIO()):
            return call(parameters(of.base), [parameters(m.net) for m in of.members[:count]])

    return run


def fb_average(_: State, members: list[State]) -> State:
    """Mean of the state dicts."""
    from fusion_bench.utils.state_dict_arithmetic import state_dict_avg

    return dict(state_dict_avg(members))


def fb_arithmetic(base: State, members: list[State]) -> State:
    """Task arithmetic."""
    from fusion_bench.utils import state_dict_arithmetic as a

    total: Any = None
    for member in members:
        tau = a.state_dict_sub(member, base)
        total = tau if total is None else a.state_dict_add(total, tau)
    return dict(a.state_dict_add(base, a.state_dict_mul(total, 0.3)))


def fb_ties(base: State, members: list[State]) -> State:
    """TIES over the whole network."""
    from fusion_bench.method.ties_merging import ties_merging_utils as t

    start = t.state_dict_to_vector(base)
    tau = torch.vstack([t.state_dict_to_vector(member) for member in members]) - start
    merged = start + t.ties_merging(tau, reset_thresh=0.2, merge_func="mean")
    return dict(t.vector_to_state_dict(merged, base))


def fb_slerp(_: State, members: list[State]) -> State:
    """Spherical interpolation of two members."""
    from fusion_bench.method.slerp.slerp_utils import slerp

    return {name: slerp(0.5, members[0][name], members[1][name]) for name in members[0]}


def fb_magmax(base: State, members: list[State]) -> State:
    """MagMax."""
    from fusion_bench.method.magmax.magmax import _magmax_select

    tau = _magmax_select([{n: member[n] - base[n] for n in base} for member in members])
    return {name: base[name] + tau[name] for name in base}


def fb_stock(base: State, members: list[State]) -> State:
    """Model Stock, whose class does the same after loading."""
    from fusion_bench.method.model_stock import model_stock as s

    ratios: dict[str, list[float]] = {}
    for i, one in enumerate(members):
        for other in members[i + 1 :]:
            for name, angle in s.compute_angle(one, other, base).items():
                ratios.setdefault(name, []).append(angle)
    ratio = s.compute_ratio({name: sum(a) / len(a) for name, a in ratios.items()}, k=len(members))
    mean = fb_average(base, members)
    return {name: mean[name] * ratio[name] + base[name] * (1 - ratio[name]) for name in base}


def fb_dare(base: State, members: list[State]) -> State:
    """DARE, then task arithmetic."""
    from fusion_bench.method.dare.utils import module_random_drop_
    from fusion_bench.utils import state_dict_arithmetic as a

    taus = [a.state_dict_sub(member, base) for member in members]
    for tau in taus:
        module_random_drop_(tau, 0.5, rescale=True)
    return dict(a.state_dict_add(base, a.state_dict_mul(a.state_dict_sum(taus), 0.3)))


def fb_tsv(base: State, members: list[State]) -> State:
    """TSV-Merge."""
    from fusion_bench.method.task_singular_vector.utils import TSVM_utils

    start = flat(base)
    taus = [{n: t - start[n] for n, t in flat(member).items()} for member in members]
    made = TSVM_utils.compute_and_sum_svd_mem_reduction(taus, accelerator=torch.device("cpu"))
    return {name: base[name] + made[name].view(base[name].shape) for name in base}


def fb_iso(base: State, members: list[State]) -> State:
    """Iso-C."""
    from fusion_bench.method.isotropic_merging.iso_utils import iso_c

    start = flat(base)
    taus = [{n: t - start[n] for n, t in flat(member).items()} for member in members]
    made = iso_c(taus, accelerator="cpu")
    return {name: base[name] + made[name].view(base[name].shape) for name in base}


def average(of: Fusing) -> State:
    """The soup as the others make it: tensors, and no network."""
    return nets.average([parameters(m.net) for m in of.members], [1 / MEMBERS] * MEMBERS)


MEANS = {"mergekit": mergekit("linear", base=False, weight=1.0), "fusion_bench": fusion_bench(fb_average)}
METHODS: dict[str, dict[str, Callable[[Fusing], State]]] = {
    "soup, tensors alone": {"finefuse": average, **MEANS},
    "soup": {"finefuse": ours(Soup(recalibrate=False)), **MEANS},
    "task-arithmetic": {
        "finefuse": ours(TaskArithmetic(recalibrate=False)),
        "mergekit": mergekit("task_arithmetic", weight=0.3),
        "fusion_bench": fusion_bench(fb_arithmetic),
    },
    "ties, tensor": {
        "finefuse": ours(Ties(trim="tensor", recalibrate=False)),
        "mergekit": mergekit("ties", weight=1.0, density=0.2),
    },
    "ties, global": {"finefuse": ours(Ties(recalibrate=False)), "fusion_bench": fusion_bench(fb_ties)},
    "dare, task-arithmetic": {
        "finefuse": ours(Dare(recalibrate=False)),
        "mergekit": mergekit("dare_linear", weight=0.3, density=0.5, rescale=False),
        "fusion_bench": fusion_bench(fb_dare),
    },
    "slerp, two members": {
        "finefuse": ours(Slerp(recalibrate=False), 2),
        "mergekit": mergekit("slerp", base=False, count=2, t=0.5),
        "fusion_bench": fusion_bench(fb_slerp, 2),
    },
    "karcher": {"finefuse": ours(Karcher(recalibrate=False)), "mergekit": mergekit("karcher", base=False)},
    "model-stock": {
        "finefuse": ours(ModelStock(recalibrate=False)),
        "mergekit": mergekit("model_stock"),
        "fusion_bench": fusion_bench(fb_stock),
    },
    "magmax": {"finefuse": ours(MagMax(recalibrate=False)), "fusion_bench": fusion_bench(fb_magmax)},
    "iso-c": {"finefuse": ours(IsoC(recalibrate=False)), "fusion_bench": fusion_bench(fb_iso)},
    "tsv-m": {"finefuse": ours(TsvM(recalibrate=False)), "fusion_bench": fusion_bench(fb_tsv)},
}


def race(
    ways: Mapping[str, Callable[[Fusing], State]], of: Fusing
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Median seconds of each way; and how far the others' results are from ours: at most, and in how many numbers."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    made: dict[str, Tensor] = {}
    while len(seconds["finefuse"]) < (ROUNDS if sum(map(sum, seconds.values())) > QUICK else MORE):
        for name, way in ways.items():
            gc.collect()
            give_back()
            start = time.process_time()
            result = way(of)
            seconds[name].append(time.process_time() - start)
            if name not in made:
                made[name] = torch.cat([result[key].flatten() for key in sorted(result)])
            del result
    gaps = {name: (result - made["finefuse"]).abs() for name, result in made.items()}
    apart = {name: (float(gap.max()), float((gap > 1e-5).double().sum())) for name, gap in gaps.items()}
    return {name: statistics.median(values) for name, values in seconds.items()}, apart


def give_back() -> None:
    """Let the C library return free memory to the system, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peaks(name: str, methods: list[str], answers: Any) -> None:
    """Put the highest memory of each of one package's ways into a queue; run in a process of its own."""
    of, process, found = pool(), psutil.Process(), {}
    copies = sum(t.numel() * t.element_size() for t in of.members[0].net.state_dict().values())
    METHODS["soup"][name](of)  # imports and caches of the first call don't count
    for method in methods:
        gc.collect()
        done, seen, before = threading.Event(), [0], process.memory_info().rss
        thread = threading.Thread(target=watch, args=(process, done, seen))
        thread.start()
        made = METHODS[method][name](of)
        done.set()
        thread.join()
        found[method] = (seen[0] - before) / copies
        del made
    answers.put(found)


def watch(process: psutil.Process, done: threading.Event, seen: list[int]) -> None:
    """Keep the largest resident set until `done`."""
    while not done.wait(0.001):
        seen[0] = max(seen[0], process.memory_info().rss)
    seen[0] = max(seen[0], process.memory_info().rss)


def memory(name: str, methods: list[str]) -> dict[str, float]:
    """Copies of the network that one package needs besides the base and the members, by method."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # what is freed goes back at once, so that the resident set tells
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    child = context.Process(target=peaks, args=(name, methods, answers))
    child.start()
    while answers.empty() and child.is_alive():
        time.sleep(0.1)
    if answers.empty():
        raise SystemExit(f"{name} could not be measured: its process ended with exit code {child.exitcode}")
    return dict(answers.get())


def missed(behind: Mapping[str, float], copies: Mapping[str, float]) -> str:
    """Say where finefuse is slower, or needs more than two copies."""
    slow = [f"`{what}` ({ratio:.2f}x)" for what, ratio in behind.items() if ratio < 1]
    large = [f"`{method}` ({value:.1f})" for method, value in copies.items() if value > 2]
    return "\n".join(
        [
            "Slower than another for the same method: " + (", ".join(slow) or "none") + ".",
            "More than two copies besides the base and the members: " + (", ".join(large) or "none") + ".",
        ]
    )


def main(asked: list[str]) -> None:
    """Measure, print and write."""
    methods, of, lines, behind = asked or list(METHODS), pool(), [], {}
    copies = {name: memory(name, [m for m in methods if name in METHODS[m]]) for name in PACKAGES}
    for method in methods:
        seconds, apart = race(METHODS[method], of)
        for name, value in seconds.items():
            ratio, far = "", ""
            if name != "finefuse":
                behind[f"{method}, {name}"] = value / seconds["finefuse"]
                ratio, (gap, count) = f"{behind[f'{method}, {name}']:.2f}x", apart[name]
                far = f"{gap:.1e}" + (f" ({count:.0f} above 1e-5)" if count else "")
                far = "random masks" if method.startswith("dare") else far
            lines.append(f"| {method} | {name} | {value:.2f} | {ratio} | {copies[name][method]:.1f} | {far} |")
            print(lines[-1], flush=True)
    if not asked:
        file = Path(__file__).with_suffix(".md")
        kept = "".join(file.read_text(encoding="utf-8").partition("\n## Notes\n")[1:])
        text = head(of) + "\n".join(lines) + "\n\n" + missed(behind, copies["finefuse"]) + "\n"
        file.write_text(text + kept, encoding="utf-8")


def head(of: Fusing) -> str:
    """What was run, and on what."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "mergekit", "fusion-bench"))
    total = sum(p.numel() for p in of.members[0].net.parameters())
    return f"""# Merging a ResNet-50

`studies/parity/merging.py`: {MEMBERS} members of {total / 1e6:.1f} million parameters each, float32, {versions},
Python {platform.python_version()}, {torch.get_num_threads()} thread on one of {os.cpu_count()} cores ({processor()},
{torch.backends.cpu.get_cpu_capability()}), beside other work. Seconds of the processor, medians of {ROUNDS} to {MORE}
rounds in which all ways take turns, each in memory fresh from the system; times finefuse's; the peak of memory besides
the base and the members, in copies of the network (the result is one); and the largest difference from finefuse's
result. For `tsv-m` and `iso-c` fusion_bench was given convolutions as matrices, as finefuse reads them; by itself it
averages them.

| method | by | seconds | to finefuse | copies | largest difference |
|---|---|---|---|---|---|
"""


if __name__ == "__main__":
    main(sys.argv[1:])
