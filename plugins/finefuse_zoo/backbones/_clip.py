"""CLIP's towers: the one for images in stages, the one for text as the weights of a head.

Apart from the backbone and the scheme, because it needs torch to be read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finefuse import FinefuseError, nets
from finefuse_zoo.backbones._preprocess import Preprocess
from finefuse_zoo.backbones._stages import FirstToken
from finefuse_zoo.backbones._whole import whole
from finefuse_zoo.datasets._tokens import load_tokenizer

AGREEMENT = 1e-4
"""How far stages may be from the whole tower; embeddings have length 1."""
SENTENCES = 256
"""Sentences that the text tower gets at a time."""


class Patches(nn.Module):
    """Patches with class token and positions, and the LayerNorm behind them."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.embeddings, self.norm = tower.embeddings, tower.pre_layrnorm

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, side, side) to (N, 1 + patches, dim)."""
        return self.norm(self.embeddings(x))  # type: ignore[no-any-return]


class Blocks(nn.Module):
    """Some of the tower's blocks, one after the other."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        taken = signature(self.blocks[0].forward).parameters
        self.masks = {name: None for name in ("attention_mask", "causal_attention_mask") if name in taken}

    def forward(self, x: Tensor) -> Tensor:
        """(N, tokens, dim) to the same."""
        for block in self.blocks:
            out = block(x, **self.masks)
            x = out[0] if isinstance(out, tuple) else out
        return x


class Projection(nn.Module):
    """To the space that images and texts share, at length 1."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, x: Tensor) -> Tensor:
        """(N, dim) to (N, width)."""
        return nn.functional.normalize(self.projection(x), dim=-1)


def image_tower(
    path: Path | None, hub: str | None, per_stage: int, mean: Sequence[float], std: Sequence[float]
) -> tuple[list[nn.Module], int]:
    """The stages of the tower for images, and the width of what the last one gives.

    Raises:
        FinefuseError: if weights can't be had or are missing, or the stages compute something else than the whole.
    """
    model = whole(path, hub, "CLIPVisionModelWithProjection", "a CLIP")
    tower, side = model.vision_model, model.config.image_size
    blocks = list(tower.encoder.layers)
    groups = [Blocks(blocks[first : first + per_stage]) for first in range(0, len(blocks), per_stage)]
    last = nn.Sequential(groups[-1], FirstToken(), tower.post_layernorm)
    cut = [Patches(tower), *groups[:-1], last, Projection(model.visual_projection)]
    x = torch.linspace(-1, 1, 2 * 3 * side**2).view(2, 3, side, side)
    with nets.evaluation(model):
        wanted = nn.functional.normalize(model(pixel_values=x).image_embeds, dim=-1)
        if not torch.allclose(nn.Sequential(*cut)(x), wanted, atol=AGREEMENT):
            raise FinefuseError(
                f"{path or hub}: this CLIP does more than its blocks one after the other, and can't be cut"
            )
    return [nn.Sequential(Preprocess(side, mean, std), cut[0]), *cut[1:]], model.config.projection_dim


def text_weights(path: Path | None, hub: str | None, sentences: Sequence[Sequence[str]]) -> Tensor:
    """Weights of a head (classes, width): for each class the mean embedding of its sentences, at length `logit_scale`.

    Each embedding and their mean are brought to length 1, as in the paper's prompt ensembles (2103.00020, 3.1.4).

    Raises:
        FinefuseError: if the tower or its tokeniser can't be had, or weights are missing.
    """
    model = whole(path, hub, "CLIPModel", "a CLIP")
    tokenizer = load_tokenizer(path, hub)
    longest = model.config.text_config.max_position_embeddings
    flat = [sentence for of in sentences for sentence in of]
    with nets.evaluation(model):
        found = torch.cat(
            [_embedded(model, tokenizer, flat[at : at + SENTENCES], longest) for at in range(0, len(flat), SENTENCES)]
        )
        means = [part.mean(0) for part in torch.split(found, [len(of) for of in sentences])]
        weight: Tensor = nn.functional.normalize(torch.stack(means), dim=-1) * model.logit_scale.exp()
    return weight


def _embedded(model: Any, tokenizer: Any, sentences: Sequence[str], longest: int) -> Tensor:
    told = tokenizer(list(sentences), padding="max_length", truncation=True, max_length=longest, return_tensors="pt")
    pooled = model.text_model(input_ids=told["input_ids"], attention_mask=told["attention_mask"]).pooler_output
    return nn.functional.normalize(model.text_projection(pooled), dim=-1)
