"""Modules that networks for text are made of. Apart from the networks, because it needs torch to be read.

From stage to stage goes (N, tokens, dim). Padding is known by its zeros there, so that a stage needs to be told nothing
else: whoever makes such a tensor multiplies padding by 0, and no token is all zeros but by a hair's breadth.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from finefuse import FinefuseError


def real(x: Tensor) -> Tensor:
    """(N, tokens, dim) to (N, tokens): where there is a token and no padding."""
    return (x != 0).any(-1)


def looked_up(table: nn.Module, ids: Tensor, size: int) -> Tensor:
    """Vectors of token numbers.

    Raises:
        FinefuseError: if a number is beyond the table; on a GPU torch stops the process instead.
    """
    try:
        return table(ids)  # type: ignore[no-any-return]
    except IndexError as error:
        told = f"token {int(ids.max())} is beyond the backbone's vocabulary of {size}"
        raise FinefuseError(f"{told}: data set and backbone need the same one") from error


class TokenEmbedding(nn.Module):
    """A vector for each token number and, where `length` is given, one for each position; zeros for padding (0).

    Positions start half as large as tokens: with the usual 0.02 a short training never tells them apart.
    """

    def __init__(self, vocabulary: int, dim: int, length: int = 0) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, dim)
        self.positions = nn.Parameter(torch.empty(length, dim)) if length else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the positions."""
        if self.positions is not None:
            nn.init.normal_(self.positions, std=0.5)

    def forward(self, ids: Tensor) -> Tensor:
        """(N, tokens) to (N, tokens, dim)."""
        x = looked_up(self.table, ids, self.table.num_embeddings)
        if self.positions is not None:
            x = x + self.positions
        return x * (ids != 0).unsqueeze(-1)


class WidestMatches(nn.Module):
    """Convolutions of several widths, ReLU, and the maximum over time (Kim 2014, arXiv 1408.5882), then dropout.

    Windows over nothing but padding take part, as there. The convolutions are 2-d ones over a single column, because
    those are what adapters know.
    """

    def __init__(self, dim: int, filters: int, widths: Sequence[int], dropout: float) -> None:
        super().__init__()
        sizes = [((width, 1), (width - 1, 0)) for width in widths]
        self.convolutions = nn.ModuleList(nn.Conv2d(dim, filters, size, padding=padding) for size, padding in sizes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) to (N, widths * filters)."""
        column = x.transpose(1, 2).unsqueeze(-1)
        found = [convolution(column).relu().amax((2, 3)) for convolution in self.convolutions]
        return self.dropout(torch.cat(found, dim=1))  # type: ignore[no-any-return]


class EncoderBlock(nn.Module):
    """Self-attention among tokens, and a two-layer perceptron, each behind a LayerNorm and beside a shortcut.

    Vaswani et al. 2017, arXiv 1706.03762, with the LayerNorm in front as in Xiong et al. 2020, arXiv 2002.04745.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention, self.before_perceptron = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.perceptron = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) to the same; padding stays zero."""
        mask = real(x)
        q, k, v = self.qkv(self.before_attention(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        x = x + self.dropout(self.perceptron(self.before_perceptron(x)))
        return x * mask.unsqueeze(-1)


class MeanOfTokens(nn.Module):
    """The mean over tokens, without padding, behind `each`, which is called on every token."""

    def __init__(self, each: nn.Module) -> None:
        super().__init__()
        self.each = each

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) to (N, dim)."""
        mask = real(x).unsqueeze(-1).to(x.dtype)
        return (self.each(x) * mask).sum(1) / mask.sum(1).clamp_min(1)  # type: ignore[no-any-return]
