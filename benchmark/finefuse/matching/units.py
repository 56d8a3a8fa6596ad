"""Which units of a network can change places without changing what it computes, and which places match another network.

Units are followed through one forward pass: a linear or convolutional layer makes a new space of units, element-wise
functions and pooling keep it, adding two tensors makes their spaces one, and whatever reads a space has to be permuted
along (Ainsworth et al. 2023, arXiv 2209.04836).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from finefuse import nets
from finefuse.errors import NotApplicable

ELEMENTWISE = {
    *(
        "relu",
        "relu_",
        "relu6",
        "gelu",
        "tanh",
        "sigmoid",
        "silu",
        "hardswish",
        "hardsigmoid",
        "hardtanh",
        "leaky_relu",
    ),
    *("elu", "selu", "celu", "mish", "softplus", "abs", "neg", "clone", "contiguous", "dropout", "dropout2d", "clamp"),
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "interpolate", "pad", "to", "float"),
    *("max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d", "feature_dropout", "alpha_dropout"),
}
PAIRWISE = {"add", "sub", "mul", "div", "truediv", "radd", "rmul", "rsub", "iadd", "isub", "imul", "itruediv"}
SHAPING = {"flatten", "view", "reshape", "squeeze"}
MEANS = {"mean", "sum", "amax"}


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor of the state dict along which units lie, each with `repeat` numbers in a row."""

    name: str
    axis: int
    repeat: int = 1


@dataclass
class Units:
    """Spaces of units, each with the axes that have to be permuted together, in the order of the forward pass."""

    sizes: list[int] = field(default_factory=list)
    axes: list[list[Axis]] = field(default_factory=list)
    into: list[int] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)

    def new(self, size: int) -> int:
        """A space of `size` units."""
        self.sizes.append(size)
        self.axes.append([])
        self.into.append(len(self.into))
        return self.into[-1]

    def root(self, space: int) -> int:
        """The space that this one has become."""
        while self.into[space] != space:
            space = self.into[space]
        return space

    def join(self, one: int, other: int) -> None:
        """Make two spaces one."""
        first, last = sorted((self.root(one), self.root(other)))
        if first != last:
            self.into[last] = first
            self.axes[first] += self.axes[last]

    def add(self, space: int, axis: Axis) -> None:
        """Let an axis be permuted with a space, and with any other that it is already in."""
        for other in range(len(self.axes)):
            if any((a.name, a.axis) == (axis.name, axis.axis) for a in self.axes[other]):
                self.join(space, other)
                return
        self.axes[self.root(space)].append(axis)

    def free(self) -> dict[int, list[Axis]]:
        """The spaces whose units may change places."""
        fixed = {self.root(space) for space in self.fixed}
        roots = [s for s, at in enumerate(self.into) if s == at and s not in fixed and self.sizes[s] > 1]
        return {root: self.axes[root] for root in roots}


def follow(net: nets.Net, x: Tensor) -> Units:
    """Spaces of units of a network, found by showing it some inputs, two at least.

    Raises:
        NotApplicable: if units can't be followed through it, or none may change places.
    """
    trace = _Trace(net)
    with nets.evaluation(net), trace:
        out = net(x)
    trace.fix(out)
    if not trace.units.free():
        raise NotApplicable("this network has no units that can be permuted")
    return trace.units


class _Trace(TorchFunctionMode):
    """Labels every activation with its space of units on axis 1, and how many numbers in a row each unit has."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.units = Units()
        tensors = net.state_dict(keep_vars=True)
        self.names = {id(tensor): name for name, tensor in tensors.items()}
        self.labels: dict[int, tuple[int, int]] = {}
        self.alive: list[Tensor] = []
        self.rules: dict[str, Callable[..., tuple[int, int] | None]] = {
            "linear": self._linear,
            **dict.fromkeys(("conv1d", "conv2d"), self._conv),
            "batch_norm": self._batch_norm,
            "layer_norm": self._layer_norm,
            **dict.fromkeys(ELEMENTWISE, self._keep),
            **dict.fromkeys(PAIRWISE, self._pair),
            **dict.fromkeys(SHAPING, self._shape),
            **dict.fromkeys(MEANS, self._mean),
        }

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call, and label what comes out."""
        out = func(*args, **(kwargs or {}))
        given = [*args, *(kwargs or {}).values()]
        given += [one for some in given if isinstance(some, tuple | list) for one in some]
        label = [self.labels[id(one)] for one in given if id(one) in self.labels]
        name = func.__name__.strip("_")
        known = isinstance(out, Tensor) and (name in ("linear", "conv1d", "conv2d") or label)
        if known:
            if name not in self.rules:
                raise NotApplicable(f"units of this network can't be followed through '{name}'")
            self.out = out
            made = self.rules[name](*args, **(kwargs or {}))
            if made is not None:
                self.labels[id(out)] = made
                self.alive.append(out)
        elif label and isinstance(out, tuple | list) and any(isinstance(one, Tensor) for one in out):
            raise NotApplicable(f"units of this network can't be followed through '{name}'")
        return out

    def fix(self, activation: Tensor) -> None:
        """Let the units of an activation keep their places."""
        if label := self.labels.get(id(activation)):
            self.units.fixed.add(label[0])

    def _axis(self, tensor: Tensor | None, axis: int, label: tuple[int, int] | None) -> None:
        if tensor is None or label is None:
            return
        if id(tensor) not in self.names:
            raise NotApplicable("this network computes weights from others, so its units can't be permuted")
        self.units.add(label[0], Axis(self.names[id(tensor)], axis, label[1]))

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[int, int] | None:
        label = self.labels.get(id(x))
        if x.ndim != 2:
            if label:
                raise NotApplicable("units of this network can't be followed through a linear layer on tokens")
            return None
        self._axis(weight, 1, label)
        return self._made(weight, bias)

    def _conv(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **more: Any) -> tuple[int, int]:
        label, groups = self.labels.get(id(x)), more.get("groups", rest[3] if len(rest) > 3 else 1)
        if groups == 1:
            self._axis(weight, 1, label)
            return self._made(weight, bias)
        if groups != x.shape[1] or groups != len(weight):
            raise NotApplicable("units of this network can't be followed through grouped convolutions")
        label = label or (self.units.new(groups), 1)
        if id(x) not in self.labels:
            self.units.fixed.add(label[0])
        self._axis(weight, 0, label)
        self._axis(bias, 0, label)
        return label

    def _made(self, weight: Tensor, bias: Tensor | None) -> tuple[int, int]:
        label = self.units.new(len(weight)), 1
        self._axis(weight, 0, label)
        self._axis(bias, 0, label)
        return label

    def _batch_norm(
        self,
        x: Tensor,
        mean: Tensor | None,
        var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> tuple[int, int]:
        for tensor in (mean, var, weight, bias):
            self._axis(tensor, 0, self.labels[id(x)])
        return self.labels[id(x)]

    def _layer_norm(
        self,
        x: Tensor,
        shape: Sequence[int],
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        *_: Any,
        **__: Any,
    ) -> tuple[int, int]:
        if x.ndim != 2 or len(shape) != 1:
            raise NotApplicable("units of this network can't be followed through a LayerNorm over more than units")
        for tensor in (weight, bias):
            self._axis(tensor, 0, self.labels[id(x)])
        return self.labels[id(x)]

    def _keep(self, x: Tensor, *_: Any, **__: Any) -> tuple[int, int] | None:
        return self.labels.get(id(x))

    def _pair(self, x: Any, other: Any, **_: Any) -> tuple[int, int] | None:
        both = [one for one in (x, other) if isinstance(one, Tensor) and one.numel() > 1]
        labels = [self.labels[id(one)] for one in both if id(one) in self.labels]
        if len(labels) < len(both):
            self.units.fixed.update(space for space, _ in labels)
            if any(id(one) in self.names for one in both):
                raise NotApplicable("units of this network can't be followed through arithmetic with its weights")
        elif len(labels) == 2:
            if labels[0][1] != labels[1][1] or x.shape[1] != other.shape[1]:
                raise NotApplicable("units of this network can't be followed through tensors that are broadcast")
            self.units.join(labels[0][0], labels[1][0])
        return labels[0]

    def _shape(self, x: Tensor, *_: Any, **__: Any) -> tuple[int, int]:
        space, repeat = self.labels[id(x)]
        if self.out.ndim != 2 or len(self.out) != len(x):
            raise NotApplicable(f"units of this network can't be followed into a shape of {self.out.ndim} axes")
        return space, repeat * (x[0].numel() // x.shape[1])

    def _mean(self, x: Tensor, dim: Any = None, *_: Any, **__: Any) -> tuple[int, int]:
        dims = [dim] if isinstance(dim, int) else list(dim or [0])
        if any(d % x.ndim < 2 for d in dims):
            raise NotApplicable("units of this network can't be followed through a mean over them")
        return self.labels[id(x)]
