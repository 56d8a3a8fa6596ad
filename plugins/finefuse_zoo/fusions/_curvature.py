"""What the data says about parameters: the Fisher information of each, and the inputs of every layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch

from finefuse import nets

if TYPE_CHECKING:
    from torch import Tensor, nn

    from finefuse.types import Task

HELD, HELD_BY_GPU = 2**26, 2**29
"""Numbers of per-example gradients that may be held at once: 256 MB in float32, and 2 GiB on a GPU."""
LARGE = 2**20
"""Parameters of a network whose examples keep a processor busy one by one; batched gradients would only be slower."""


def called_with(net: nn.Module, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """The network's outputs with other parameters, by their first names; weights that are tied stay so."""
    first = nets.own_names(net)
    slots = [
        f"{name}.{own}" if name else own
        for name, module in net.named_modules()
        for own, _ in module.named_parameters(recurse=False, remove_duplicate=False)
    ]
    given = {slot: params[first[slot]] for slot in slots}  # torch's own tying trips over modules that are used twice
    outputs: Tensor = torch.func.functional_call(net, given, (x,), tie_weights=False)
    return outputs


def fisher(net: nn.Module, task: Task, x: Tensor, rng: torch.Generator | None = None) -> dict[str, Tensor]:
    """The diagonal of the Fisher information, mean over examples x, by name of parameter; in evaluation mode.

    Exact: gradients of one example each are squared, not that of a batch. As many at a time as `HELD` allows, but on a
    processor one by one from `LARGE` on. With `rng` it is an unbiased estimate, at a cost that does not grow with the
    number of classes.
    """
    params = {name: p.detach() for name, p in net.named_parameters()}
    total = {name: torch.zeros_like(p) for name, p in params.items()}
    count = sum(p.numel() for p in params.values())
    on_gpu = next(net.parameters()).is_cuda
    squares = _one_by_one if count >= LARGE and not on_gpu else _side_by_side
    plain = torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH)  # the others can't be batched
    with nets.evaluation(net), plain:
        for part in torch.split(x, max(1, (HELD_BY_GPU if on_gpu else HELD) // max(1, count))):
            v, q = task.directions(net(part), rng)
            for name, square in squares(net, params, part, v, q):
                total[name] += square
    return {name: f / len(x) for name, f in total.items()}


Squares = Iterator[tuple[str, "Tensor"]]


def _side_by_side(net: nn.Module, params: Mapping[str, Tensor], x: Tensor, v: Tensor, q: Tensor) -> Squares:
    """Parts of sum_nk q_nk (J_n^T v_nk)^2, by name; all examples at once, which helps where each does little work."""

    def along(params: Mapping[str, Tensor], x: Tensor, v: Tensor) -> Tensor:
        return (called_with(net, params, x[None])[0] * v).sum()

    gradients = torch.func.vmap(torch.func.grad(along), in_dims=(None, 0, 0))
    for k in range(v.shape[1]):
        for name, gradient in gradients(params, x, v[:, k]).items():
            yield name, torch.einsum("n,n...->...", q[:, k], gradient.square())


def _one_by_one(net: nn.Module, params: Mapping[str, Tensor], x: Tensor, v: Tensor, q: Tensor) -> Squares:
    """The same, an example after the other."""
    leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
    for example, directions, shares in zip(x, v, q, strict=True):
        with torch.enable_grad():
            outputs = called_with(net, leaves, example[None])[0]
        for direction, share in zip(directions, shares, strict=True):
            gradients = torch.autograd.grad(
                outputs, list(leaves.values()), direction, retain_graph=True, materialize_grads=True
            )
            for name, gradient in zip(leaves, gradients, strict=True):
                yield name, share * gradient.square()


def layers(net: nn.Module) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """Layers whose weight is a matrix on inputs: Linear, and Conv2d without groups, by the weight's own name."""
    own = nets.own_names(net)
    for name, layer in net.named_modules():
        if isinstance(layer, torch.nn.Linear) or (isinstance(layer, torch.nn.Conv2d) and layer.groups == 1):
            yield own[f"{name}.weight"], layer


def layer_inputs(layer: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    """What the rows of the weight, as a matrix, are multiplied with: (positions of all examples, inputs), float64."""
    if isinstance(layer, torch.nn.Linear):
        return x.reshape(-1, x.shape[-1]).double()
    pads = layer._reversed_padding_repeated_twice
    padded = torch.nn.functional.pad(x, pads, "constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    patches = torch.nn.functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
    return patches.transpose(1, 2).flatten(0, 1).double()


def grams(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """X^T X (inputs, inputs), float64, of the inputs X of the `layers` that run, by name of the weight."""
    found: dict[str, Tensor] = {}

    def watch(layer: nn.Linear | nn.Conv2d, name: str) -> None:
        def keep(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            rows = layer_inputs(layer, inputs[0])
            found[name] = found[name].addmm_(rows.T, rows) if name in found else rows.T @ rows

        hooks.callback(layer.register_forward_pre_hook(keep).remove)

    with nets.evaluation(net), ExitStack() as hooks:
        for name, layer in layers(net):
            watch(layer, name)
        for part in torch.split(x, 64):  # unfolded inputs are large
            net(part)
    return found


def damped(gram: Tensor, a: float) -> Tensor:
    """The matrix with its off-diagonals multiplied by `a`."""
    return gram * a + torch.diag(gram.diagonal()) * (1 - a)


class Regression:
    """(sum_m G_m)^-1 sum_m G_m W_m, solved for as the change from the mean, so that equal W give exactly that.

    Members are added one by one, so that no more than one G_m is held besides the sum.
    """

    def __init__(self, mean: Tensor) -> None:
        self.mean, self.count = mean, 0
        self.aim = torch.zeros_like(mean)
        self.total = mean.new_zeros(len(mean), len(mean))

    def add(self, matrix: Tensor, gram: Tensor) -> None:
        """Take in a member's matrix (inputs, outputs) and the Gram matrix of its inputs."""
        self.aim += gram @ (matrix - self.mean)
        self.total += gram
        self.count += 1

    def solved(self) -> Tensor:
        """The merged matrix."""
        total = self.total.clone()
        total.diagonal().add_(1e-10 * total.diagonal().mean() + torch.finfo(total.dtype).tiny)
        change: Tensor = torch.linalg.solve(total, self.aim)
        return self.mean + change
