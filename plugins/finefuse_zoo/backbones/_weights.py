"""Files of weights: their digest without torch, reading them safely, putting them into a network to the last tensor."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finefuse import FinefuseError

if TYPE_CHECKING:
    from torch import Tensor, nn

NESTED = ("state_dict", "model")
"""Keys under which a checkpoint may hold its state dict."""
PREFIXES = ("module.", "_orig_mod.")
"""What `DataParallel` and `torch.compile` put before every name."""
OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)
"""Names in older files that torchvision itself still offers, and what they are called now."""
SHOWN = 3


def digest_of(file: Path) -> str:
    """Digest of a file's content; a file that has not changed is read once per process.

    Raises:
        FinefuseError: if there is no such file.
    """
    if not file.is_file():
        raise FinefuseError(f"the weights file {file} does not exist")
    stat = file.stat()
    return _digest(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(file: Path, size: int, mtime: int) -> str:  # noqa: ARG001 - they say which content it is
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def read(file: Path) -> dict[str, Tensor]:
    """The tensors in a file, by name, on the CPU: safetensors, or what `torch.save` wrote; code in it is never run.

    A state dict may be nested under `state_dict` or `model`, and its names may begin with `module.`.

    Raises:
        FinefuseError: if the file does not exist, can't be read, or holds something else.
    """
    if not file.is_file():
        raise FinefuseError(f"the weights file {file} does not exist")
    try:
        return plain(_opened(file), str(file))
    except pickle.UnpicklingError as error:
        what = f"the weights file {file} is damaged or holds more than tensors, and nothing else is unpickled"
        raise FinefuseError(f"{what}; save the state_dict alone") from error
    except (OSError, EOFError, RuntimeError, ValueError, json.JSONDecodeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise FinefuseError(f"the weights file {file} can't be read: {reason}") from error


def _opened(file: Path) -> Any:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if file.suffix != ".safetensors":
        return torch.load(file, map_location="cpu", weights_only=True)
    try:
        return load_file(file, device="cpu")
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def plain(content: Any, who: str) -> dict[str, Tensor]:
    """A checkpoint's state dict, out of what it is nested in and without prefixes.

    Raises:
        FinefuseError: if there is none, or it holds something else than tensors.
    """
    import torch

    while isinstance(content, Mapping):
        inner = next((content[key] for key in NESTED if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not content:
        raise FinefuseError(f"{who} holds no state dict, but a {type(content).__name__}")
    other = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if other:
        raise FinefuseError(f"{who} holds no state dict: {_some(other)} {'are' if other[1:] else 'is'} no tensor")
    state: dict[str, Tensor] = dict(content)
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def fit(model: nn.Module, state: Mapping[str, Tensor], who: str, leave: tuple[str, ...] = ()) -> None:
    """Copy tensors into a network; those whose names begin with one of `leave` are left out on both sides.

    BatchNorm's counters of batches may be missing, as they are in files older than them.

    Raises:
        FinefuseError: with the first names of all that are missing, not known, or of another shape.
    """
    import torch

    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(leave)}
    given = {_renamed(name, own): tensor for name, tensor in state.items()}
    given = {name: tensor for name, tensor in given.items() if not name.startswith(leave)}
    wrong = [
        f"{name} is {_shape(given[name])} instead of {_shape(own[name])}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    extra = [name for name in given if name not in own]
    found = (("missing", missing), ("not known", extra), ("of another shape", wrong))
    problems = [f"{len(names)} {what} ({_some(names)})" for what, names in found if names]
    if problems:
        raise FinefuseError(f"{who} doesn't fit: of its tensors {', '.join(problems)}")
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)


def _renamed(name: str, own: Mapping[str, Any]) -> str:
    """The present name of a tensor that had another."""
    renamed = (old.sub(new, name) for old, new in OLD_NAMES)
    return name if name in own else next((new for new in renamed if new in own), name)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _some(names: Iterable[str]) -> str:
    """The first few of them."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
