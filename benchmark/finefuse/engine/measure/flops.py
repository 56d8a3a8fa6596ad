"""Floating-point operations of a network, whichever kernels its device would take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from finefuse.nets import evaluation

Shape = Sequence[int]


def flops_per_example(model: nn.Module, x: Tensor) -> int:
    """Floating-point operations of one forward pass of one example: products and sums of products of matrices.

    That is, of linear and bilinear layers, convolutions, attention and recurrent layers. What goes element by element,
    such as activations, norms and pooling, is left out. The count is the same on every device. Where a change gives a
    network another one, `finefuse.declare.keys.COUNTING` is raised.
    """
    with evaluation(model), _taken_apart(), FlopCounterMode(display=False, custom_mapping=dict(_MORE)) as counter:
        model(x[:1])
    return int(counter.get_total_flops())


@contextmanager
def _taken_apart() -> Iterator[None]:
    """No fused kernels of attention: the counter sees its products, without the padding that some kernels add."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _product(a: Shape, *_: Any, **__: Any) -> int:
    """Of a matrix or vector and a vector: every number of the first is used once."""
    return 2 * math.prod(a)


def _added_product(_: Shape, a: Shape, *__: Any, **___: Any) -> int:
    return _product(a)


def _added_batches(_: Shape, a: Shape, b: Shape, **__: Any) -> int:
    return 2 * math.prod(a) * b[-1]


def _attention(q: Shape, k: Shape, v: Shape, *_: Any, **__: Any) -> int:
    """Of a network that insists on the fused kernel of the processor: (N, heads, tokens, width) each."""
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _trilinear(a: Shape, b: Shape, *_: Any, **__: Any) -> int:
    """Of a bilinear layer, y_o = a W_o b: a product with every matrix, and one with the vector that comes of it."""
    outputs, left, right = b
    return 2 * math.prod(a[:-1]) * outputs * (left * right + right)


def _layer_on_cpu(x: Shape, from_input: Shape, from_state: Shape, *_: Any, **__: Any) -> int:
    """Of an LSTM in one direction: (steps, N, inputs), and the weights of all gates."""
    return _layers_on_gpu(x, [from_input, from_state])


def _layers_on_gpu(x: Shape, weights: Sequence[Shape], *_: Any, **__: Any) -> int:
    """Of a recurrent network, all its layers and directions; vectors among the weights are biases."""
    return 2 * math.prod(x[:-1]) * sum(math.prod(shape) for shape in weights if len(shape) == 2)


aten = torch.ops.aten
_MORE: Mapping[Any, Callable[..., int]] = {
    aten.mv: _product,
    aten.dot: _product,
    aten.vdot: _product,
    aten.addmv: _added_product,
    aten.addbmm: _added_batches,
    aten._trilinear: _trilinear,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten.mkldnn_rnn_layer: _layer_on_cpu,
    aten._cudnn_rnn: _layers_on_gpu,
}
"""Products that torch's counter has no formula for, with the shapes of their arguments."""
