"""Files of weights: their digest without torch, reading them safely, putting them into a network to the last tensor."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finefuse import FinefuseError
from finefuse_zoo.backbones._state_dicts import some, state_dict, without_prefix
from finefuse_zoo.backbones._weight_files import content_of, shards_of

if TYPE_CHECKING:
    from torch import Tensor, nn

OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(encoder_layer_\d+\.mlp)\.linear_2\."), r"\1.3."),
)
"""Names in older files that torchvision itself still offers, and what they are called now."""


def digest_of(file: Path) -> str:
    """Digest of a file's content, of its parts too if it is an index; what has not changed is read once per process.

    Raises:
        FinefuseError: if there is no such file.
    """
    digests = []
    for one in (file, *_parts(file)):
        stat = one.stat()
        digests.append(_digest(one, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns))
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


@lru_cache(maxsize=64)
def _digest(file: Path, size: int, mtime: int, ctime: int) -> str:  # noqa: ARG001 - they say which content it is
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _parts(file: Path) -> list[Path]:
    if not file.is_file():
        raise FinefuseError(f"the weights file {file} does not exist")
    return shards_of(file)


def read(file: Path, model: nn.Module | None = None, key: str | None = None) -> dict[str, Tensor]:
    """The tensors in a file, by name, on the CPU: safetensors, or what `torch.save` wrote; code in it is never run.

    The file may be an index of several. A state dict may be nested, under `key` if there are several, and its names may
    begin alike. With a `model` names are as it has them, and a file that says it is far larger is not read.

    Raises:
        FinefuseError: if the file does not exist, can't be read, or holds something else.
    """
    own = None if model is None else model.state_dict()
    state, _ = _state(file, None if own is None else sum(t.nbytes for t in own.values()), key)
    return without_prefix(state, own or ())


def remark(file: Path, key: str | None) -> str:
    """Which weights are taken, where a file holds several; else ""."""
    return _state(file, None, key)[1]


def _state(file: Path, own: int | None, key: str | None) -> tuple[dict[str, Tensor], str]:
    parts = _parts(file)
    try:
        content = [content_of(part, own) for part in parts or [file]]
    except pickle.UnpicklingError as error:
        what = f"the weights file {file} is damaged or holds more than tensors, and nothing else is unpickled"
        raise FinefuseError(f"{what}; save the state_dict alone") from error
    except FinefuseError:
        raise
    except Exception as error:  # whatever a damaged file makes torch and safetensors stumble over
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise FinefuseError(f"the weights file {file} can't be read: {reason}") from error
    if not parts:
        return state_dict(content[0], str(file), key)
    shards = [state_dict(one, str(part))[0] for one, part in zip(content, parts, strict=True)]
    return {name: tensor for shard in shards for name, tensor in shard.items()}, ""


def plain(content: Any, who: str) -> dict[str, Tensor]:
    """A checkpoint's state dict, out of what it is nested in and without prefixes.

    Raises:
        FinefuseError: if there is none, or it holds something else than tensors.
    """
    return without_prefix(state_dict(content, who)[0])


def fit(model: nn.Module, state: Mapping[str, Tensor], who: str, leave: tuple[str, ...] = ()) -> None:
    """Copy tensors into a network; those whose names begin with one of `leave` are left out on both sides.

    BatchNorm's counters of batches may be missing, as they are in files older than them.

    Raises:
        FinefuseError: with the first names of all that are missing, not known, or of another shape; with the name of a
            tensor of whole numbers for other ones, with values that are not finite, or with variances below 0.
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
    problems = [f"{len(names)} {what} ({some(names)})" for what, names in found if names]
    if problems:
        raise FinefuseError(f"{who} doesn't fit: of its tensors {', '.join(problems)}{_hint(missing, extra)}")
    for name, tensor in given.items():
        if fault := _fault(name, tensor, own[name]):
            raise FinefuseError(f"{who} can't be used: {name} {fault}")
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)


def _fault(name: str, tensor: Tensor, own: Tensor) -> str:
    """What is wrong with the values of a tensor, as the end of a sentence."""
    if own.is_floating_point() and not tensor.is_floating_point():
        return f"holds {tensor.dtype} and not floats"
    if not own.is_floating_point():
        return ""
    values = tensor.float() if tensor.element_size() == 1 else tensor  # torch asks nothing of floats of 8 bits
    if not values.isfinite().all():
        return "has values that are not finite"
    return "has variances below 0" if name.endswith("running_var") and (values < 0).any() else ""


def _hint(missing: Sequence[str], extra: Sequence[str]) -> str:
    near = get_close_matches(missing[0], extra, n=1) if missing else []
    return f"; is its {near[0]} the network's {missing[0]}?" if near else ""


def _renamed(name: str, own: Mapping[str, Any]) -> str:
    """The present name of a tensor that had another."""
    renamed = (old.sub(new, name) for old, new in OLD_NAMES)
    return name if name in own else next((new for new in renamed if new in own), name)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
