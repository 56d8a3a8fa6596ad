"""A step that ran out of memory, undone: what can be tried again in halves as if it had never begun."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from finefuse.nets import norm_layers


def undoing(model: nn.Module, device: torch.device, own: Sequence[torch.Generator]) -> Callable[[], None]:
    """What puts generators, torch's and one's own, and a model's buffers back to what they are now.

    A pass that fails has drawn some numbers and renewed some statistics, as many as there was memory for.
    """
    drawn, on_gpu = torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    drawn_of_own = [generator.get_state() for generator in own]
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]

    @torch.no_grad()
    def undo() -> None:
        torch.set_rng_state(drawn)
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu, device)
        for generator, state in zip(own, drawn_of_own, strict=True):
            generator.set_state(state)
        for buffer, content in before:
            buffer.copy_(content)

    return undo


def fewest(model: nn.Module) -> int:
    """Examples that a part of a batch needs: two, where BatchNorm normalises by them."""
    return 2 if any(layer.training for layer in norm_layers(model)) else 1
