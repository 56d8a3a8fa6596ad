"""Means and deviations of what layers put out, and networks scaled so that theirs are given ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from finefuse import nets

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 256
"""Examples that are normalised together, as in `nets.recalibrate`."""


@dataclass
class Moments:
    """Mean and standard deviation (channels,) of all numbers of each channel that were added."""

    count: int = 0
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0

    def add(self, out: Tensor) -> Moments:
        """Take in an output (N, ..., channels)."""
        rows = out.detach().double().reshape(-1, out.shape[-1])
        self.count += len(rows)
        self.total, self.squares = self.total + rows.sum(0), self.squares + rows.square().sum(0)
        return self

    @property
    def mean(self) -> Tensor:
        """Of each channel."""
        return torch.as_tensor(self.total / self.count)

    @property
    def std(self) -> Tensor:
        """Of each channel, by the number of examples."""
        return (torch.as_tensor(self.squares / self.count) - self.mean.square()).clamp_min(0).sqrt()


def layers_to_mend(net: nets.Net, x: Tensor) -> list[str]:
    """Names of the linear, convolutional and BatchNorm layers below the head, but those that BatchNorm follows."""
    linear = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    made: dict[int, tuple[str, Tensor]] = {}
    found: list[str] = []

    def saw(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            if isinstance(module, nets.BatchNorm) and id(given[0]) in made:
                found.remove(made[id(given[0])][0])
            if name not in found and getattr(module, "weight", None) is not None:
                made[id(out)] = name, out
                found.append(name)

        return hook

    modules = {n: m for n, m in net.named_modules() if isinstance(m, (*linear, nets.BatchNorm)) and m is not net.head}
    with nets.evaluation(net), _hooked(modules, saw):
        net(x)
    return found


def moments(net: nets.Net, names: list[str], x: Tensor) -> dict[str, Moments]:
    """Of the outputs of these layers, in evaluation mode."""
    seen = {name: Moments() for name in names}

    def see(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
            seen[name].add(_channels_last(module, out))

        return hook

    with nets.evaluation(net), _hooked({name: net.get_submodule(name) for name in names}, see):
        _pass(net, x)
    return seen


def mend(net: nets.Net, goals: Mapping[str, tuple[Tensor, Tensor]], x: Tensor) -> None:
    """Scale and shift layers so that their outputs have these means and deviations on `x`; renew running statistics.

    What comes behind a layer sees it mended: batch by batch while it is measured, and then by weight and bias. A layer
    without bias is scaled only, and a channel that never changes is shifted only.
    """
    seen = {name: Moments() for name in goals}

    def change(name: str) -> Callable[..., Tensor]:
        def hook(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> Tensor:
            last = _channels_last(module, out)
            seen[name].add(last)
            scale, shift = _change(Moments().add(last), *goals[name], module)
            mended = last * scale.to(out) + shift.to(out)
            return mended if last is out else mended.movedim(-1, 1)

        return hook

    modules = {name: net.get_submodule(name) for name in goals}
    with nets.evaluation(net):
        with _hooked(modules, change):
            _renew(net, x)
        for name, module in modules.items():
            layer: Any = module
            scale, shift = _change(seen[name], *goals[name], module)
            layer.weight.mul_(scale.to(layer.weight).view(-1, *[1] * (layer.weight.ndim - 1)))
            if layer.bias is not None:
                layer.bias.mul_(scale.to(layer.bias)).add_(shift.to(layer.bias))


def _renew(net: nets.Net, x: Tensor) -> None:
    if any(True for _ in nets.norm_layers(net)):
        nets.recalibrate(net, x)
    else:
        _pass(net, x)


def _change(now: Moments, mean: Tensor, std: Tensor, module: nn.Module) -> tuple[Tensor, Tensor]:
    """What to multiply with and what to add then."""
    alive = now.std > 1e-6 * (now.std.amax() + now.mean.abs())
    scale = torch.where(alive, std / now.std, torch.ones_like(std))
    return scale, mean - now.mean * scale if getattr(module, "bias", None) is not None else torch.zeros_like(mean)


def _channels_last(module: nn.Module, out: Tensor) -> Tensor:
    return out if isinstance(module, torch.nn.Linear) or out.ndim == 2 else out.movedim(1, -1)


def _pass(net: nets.Net, x: Tensor) -> None:
    device = next(net.parameters()).device
    for batch in torch.tensor_split(x, max(1, len(x) // BATCH)):
        net(batch.to(device))


@contextmanager
def _hooked(modules: Mapping[str, nn.Module], hook: Callable[[str], Callable[..., Any]]) -> Iterator[None]:
    with ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(hook(name)).remove)
        yield


@contextmanager
def normalised_by_the_batch(net: nets.Net) -> Iterator[None]:
    """BatchNorm normalises by the batch and keeps its running statistics."""
    for layer in nets.norm_layers(net):
        layer.train()
    with nets.statistics_kept(net):
        yield
