"""Networks of torchvision with random weights, images for them, and files of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from finefuse import Classification

models = pytest.importorskip("torchvision.models")
TASK = Classification(7, "image", (3, 32, 32))


def pictures(n: int = 2, side: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(0))


def pixels(n: int = 2, side: int = 32, channels: int = 3) -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, side, side), generator=rng, dtype=torch.uint8)


def seeded(build: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def plain(name: str, **options: Any) -> nn.Module:
    """torchvision's own model, without auxiliary heads."""
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True} | options
    return models.get_model(name, weights=None, **options)  # type: ignore[no-any-return]


def written(state: Any, file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    return file
