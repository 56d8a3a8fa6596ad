"""Floating-point operations against formulas by hand, two for a product that is summed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from finefuse import Task
from finefuse.engine.measure.flops import flops_per_example
from finefuse.tasks import Classification
from finefuse_zoo.backbones.text import TextTransformer
from finefuse_zoo.backbones.vit import VitT


class Calls(nn.Module):
    """A function as a network."""

    def __init__(self, call) -> None:
        super().__init__()
        self.call = call

    def forward(self, x):
        return self.call(x)


def attention(n: int, dim: int) -> int:
    """Queries, keys, values, both products of attention, and the way out."""
    return 2 * n * dim * 3 * dim + 2 * 2 * n * n * dim + 2 * n * dim * dim


def recurrent(gates: int, n: int, inputs: int, width: int) -> int:
    return 2 * n * gates * width * (inputs + width)


def test_convolutions_and_linear_layers():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.Flatten(), nn.Linear(4 * 64, 3, bias=False))
    assert flops_per_example(model, torch.zeros(9, 1, 8, 8)) == 2 * (64 * 4 * 9) + 2 * (4 * 64 * 3)


def test_attention_of_the_embedded_backbone():
    task: Task = Classification(outputs=10, modality="image", input_shape=(1, 8, 8))
    block = attention(16, 48) + 2 * 2 * 16 * 48 * 96
    assert flops_per_example(VitT().build(task), torch.rand(3, 1, 8, 8)) == 2 * 16 * 48 * 16 + 2 * block + 2 * 48 * 10


def test_attention_with_a_mask():
    task: Task = Classification(outputs=6, modality="text", input_shape=(32,))
    block = attention(32, 64) + 2 * 2 * 32 * 64 * 256
    assert (
        flops_per_example(TextTransformer().build(task), torch.ones(1, 32, dtype=torch.long)) == 2 * block + 2 * 64 * 6
    )


@pytest.mark.parametrize("dim", [16, 20])
@pytest.mark.parametrize("n", [5, 70])
def test_attention_of_torch_on_its_fast_path_too(n, dim):
    layer = nn.TransformerEncoderLayer(dim, 4, 32, batch_first=True)
    expected = attention(n, dim) + 2 * 2 * n * dim * 32
    assert flops_per_example(layer, torch.rand(2, n, dim)) == expected
    stack = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    assert flops_per_example(stack, torch.rand(2, n, dim)) == 3 * expected


def test_attention_of_a_network_that_insists_on_the_fused_kernel():
    def fused(x):
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    assert flops_per_example(Calls(fused), torch.rand(1, 2, 7, 8)) == 2 * 2 * 2 * 7 * 7 * 8


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers(kind, gates, directions):
    layers = kind(8, 16, num_layers=2, batch_first=True, bidirectional=directions == 2)
    expected = directions * (recurrent(gates, 5, 8, 16) + recurrent(gates, 5, 16 * directions, 16))
    assert flops_per_example(layers, torch.rand(3, 5, 8)) == expected


@pytest.mark.parametrize(("cell", "gates"), [(nn.LSTMCell, 4), (nn.GRUCell, 3)])
def test_recurrent_cells(cell, gates):
    assert flops_per_example(cell(8, 16), torch.rand(3, 8)) == recurrent(gates, 1, 8, 16)


def test_bilinear_layers():
    bilinear = nn.Bilinear(3, 4, 5)
    model = Calls(lambda x: bilinear(x[:, :3], x[:, 3:]))
    model.bilinear = bilinear
    assert flops_per_example(model, torch.rand(2, 7)) == 2 * 5 * (3 * 4 + 4)


MATRIX = torch.rand(6, 6)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda x: torch.einsum("bij,bkj->bik", x, x), 2 * 5 * 5 * 6),
        (lambda x: torch.baddbmm(torch.zeros(1, 5, 5), x, x.mT), 2 * 5 * 5 * 6),
        (lambda x: torch.addbmm(torch.zeros(5, 5), x, x.mT), 2 * 5 * 5 * 6),
        (lambda x: x @ MATRIX, 2 * 5 * 6 * 6),
        (lambda x: x[0] @ MATRIX[0], 2 * 5 * 6),
        (lambda x: MATRIX @ x[0, 0], 2 * 6 * 6),
        (lambda x: torch.addmv(torch.zeros(5), x[0], MATRIX[0]), 2 * 5 * 6),
        (lambda x: torch.dot(x[0, 0], MATRIX[0]), 2 * 6),
        (lambda x: torch.relu(x).mean(1), 0),
    ],
)
def test_products_of_all_kinds(call, expected):
    assert flops_per_example(Calls(call), torch.rand(2, 5, 6)) == expected


def test_nothing_is_left_switched_off():
    flops_per_example(nn.Linear(2, 2), torch.rand(1, 2))
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()


def test_the_same_on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    for model, x in [
        (nn.TransformerEncoderLayer(20, 4, 32, batch_first=True), torch.rand(1, 9, 20)),
        (nn.LSTM(8, 16, batch_first=True), torch.rand(1, 5, 8)),
        (nn.GRU(8, 16, batch_first=True), torch.rand(1, 5, 8)),
    ]:
        assert flops_per_example(model.cuda(), x.cuda()) == flops_per_example(model.cpu(), x)
