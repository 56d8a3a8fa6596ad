"""How torch rounds the factors of float32 products: one state, by whichever of torch's interfaces it was set.

Since torch 2.9 there is `fp32_precision` beside `allow_tf32` and `set_float32_matmul_precision`. Where a process
has used it torch refuses to read the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

_BACKENDS: Any = torch.backends
_OWNERS: Sequence[Any] = (
    (
        _BACKENDS, _BACKENDS.cudnn, _BACKENDS.mkldnn, _BACKENDS.cuda.matmul, _BACKENDS.cudnn.conv, _BACKENDS.cudnn.rnn,
        _BACKENDS.mkldnn.matmul, _BACKENDS.mkldnn.conv, _BACKENDS.mkldnn.rnn,
    )
    if torch.__version__ >= "2.9"
    else ()
)  # fmt: skip
"""What has an `fp32_precision`, each after those that set it as well."""
_FORMER: Sequence[tuple[Callable[[], Any], Callable[[Any], object]]] = (
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (lambda: torch.backends.cuda.matmul.allow_tf32, lambda on: setattr(torch.backends.cuda.matmul, "allow_tf32", on)),
    (lambda: torch.backends.cudnn.allow_tf32, lambda on: setattr(torch.backends.cudnn, "allow_tf32", on)),
)


def set_rounding(*, tf32: bool) -> None:
    """Round products and convolutions on a GPU to TF32 or not at all, and nothing on the processor."""
    _set_newer(["none"] * len(_OWNERS))
    torch.set_float32_matmul_precision("highest")
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32


def rounding() -> tuple[list[Any], list[str]]:
    """All that is set; None for what torch refuses to read."""
    former: list[Any] = [readable(read) for read, _ in _FORMER]
    return former, [owner.fp32_precision for owner in _OWNERS]


def put_back(state: tuple[list[Any], list[str]]) -> None:
    """What was set before."""
    former, newer = state
    for (_, write), value in zip(_FORMER, former, strict=True):
        if value is not None:
            write(value)
    _set_newer(newer)


def readable(read: Callable[[], Any]) -> Any:
    """What a switch is set to; None where torch refuses to say."""
    with suppress(RuntimeError):
        return read()
    return None


def _set_newer(values: Sequence[str]) -> None:
    for owner, value in zip(_OWNERS, values, strict=True):
        owner.fp32_precision = value
