"""Cuts encoders of Hugging Face into stages. Apart from the backbone, because it needs torch to be read.

Padding is known by its zeros between stages, as in `_text`; the layers get it as the mask they expect.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from finefuse import FinefuseError, nets
from finefuse_zoo.backbones._text import MeanOfTokens, looked_up, real

AGREEMENT = 1e-4
"""How far stages may be from the whole network."""


class Embedded(nn.Module):
    """The encoder's embeddings of token numbers, zeros for padding; `projection` is ELECTRA's, to a wider space."""

    def __init__(self, embeddings: nn.Module, projection: nn.Module | None, padding: int, vocabulary: int) -> None:
        super().__init__()
        self.embeddings, self.projection = embeddings, projection
        self.padding, self.vocabulary = padding, vocabulary

    def forward(self, ids: Tensor) -> Tensor:
        """(N, tokens) to (N, tokens, dim)."""
        x = looked_up(self.embeddings, ids, self.vocabulary)
        if self.projection is not None:
            x = self.projection(x)
        return x * (ids != self.padding).unsqueeze(-1)


class Layers(nn.Module):
    """Some of the encoder's layers, one after the other."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) to the same; padding stays zero."""
        mask = real(x)
        hidden = torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, torch.finfo(x.dtype).min)[:, None, None, :]
        for layer in self.layers:
            out = layer(x, attention_mask=hidden)
            x = out[0] if isinstance(out, tuple) else out
        return x * mask.unsqueeze(-1)


class FirstOfTokens(nn.Module):
    """(N, tokens, dim) to (N, dim): the first one that is no padding."""

    def forward(self, x: Tensor) -> Tensor:
        """The first token, which BERT and its kin put in front for this."""
        first = real(x).int().argmax(1)
        return x.gather(1, first[:, None, None].expand(-1, 1, x.shape[-1])).squeeze(1)


def cut(model: nn.Module, per_stage: int, pool: str, name: str) -> list[nn.Module]:
    """Embeddings, groups of layers, and the pooling within the last one.

    Raises:
        FinefuseError: if it isn't built like BERT, or its stages compute something else than the whole.
    """
    trunk: Any = getattr(model, "encoder", None) or getattr(model, "transformer", None)
    layers, embeddings = getattr(trunk, "layer", None), getattr(model, "embeddings", None)
    if layers is None or embeddings is None:
        raise FinefuseError(f"{name}: {_kind(model)} is not built like BERT, and can't be cut into stages")
    config: Any = model.config
    groups = [list(layers)[first : first + per_stage] for first in range(0, len(layers), per_stage)]
    first = Embedded(embeddings, getattr(model, "embeddings_project", None), padding_of(model), config.vocab_size)
    stages = [first, *(Layers(group) for group in groups)]
    covered = {id(p) for stage in stages for p in stage.parameters()}
    if left := [key for key, p in model.named_parameters() if id(p) not in covered and "pooler" not in key]:
        raise FinefuseError(f"{name}: {_kind(model)} has {left[0]} besides embeddings and layers, and can't be cut")
    _hold_against(model, stages, name)
    stages[-1] = nn.Sequential(stages[-1], MeanOfTokens(nn.Identity()) if pool == "mean" else FirstOfTokens())
    return stages


def padding_of(model: nn.Module) -> int:
    """The number of the padding token."""
    config: Any = model.config
    return int(config.pad_token_id or 0)


def longest(model: nn.Module) -> int:
    """How many tokens it takes; RoBERTa counts positions from behind the number of the padding token."""
    of: Any = model
    table = getattr(getattr(of, "embeddings", None), "position_embeddings", None)
    if not isinstance(table, nn.Embedding):
        return int(of.config.max_position_embeddings)
    return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)


def _hold_against(model: nn.Module, stages: list[nn.Module], name: str) -> None:
    """On one text with padding behind it."""
    config: Any = model.config
    padding, most = padding_of(model), min(8, longest(model))
    ids = torch.arange(most)[None] % (config.vocab_size - padding - 1) + padding + 1
    ids[:, most // 2 :] = padding
    with nets.evaluation(model), torch.random.fork_rng(devices=[]):
        whole: Tensor = model(input_ids=ids, attention_mask=(ids != padding).long())[0]
        x = ids
        try:
            for stage in stages:
                x = stage(x)
        except TypeError as error:
            raise FinefuseError(f"{name}: layers of {_kind(model)} want more than BERT's do: {error}") from error
    if not torch.allclose(x[ids != padding], whole[ids != padding], atol=AGREEMENT, rtol=AGREEMENT):
        raise FinefuseError(f"{name}: {_kind(model)} does more than its layers one after the other, and can't be cut")


def _kind(model: nn.Module) -> str:
    return type(model).__name__
