"""Splits by content: written once, and mapped by every job that needs them; a job that writes to them has a copy."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from finefuse.errors import StoreError
from finefuse.types import Data, Record, Splits, Task

LARGEST = 2 * 1024**3
"""Bytes from which on a data set is read again by each job: one that large has to be in its own file anyway."""
BLOCK = 64 * 1024**2
"""Bytes that are digested at a time."""
log = logging.getLogger("finefuse")


def kept_splits(
    root: Path, address: str, task: Task, make: Callable[[], tuple[Splits, Record]]
) -> tuple[Splits, Record]:
    """The splits kept under an address, and what is told of them, made and written if they are not there or not whole.

    Raises:
        StoreError: if the folder can't be written to or the disk is full.
    """
    folder = root / "splits" / address[:2] / address
    if (folder / "meta.json").is_file():
        try:
            return _read(folder, task)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            log.warning("%s: damaged, and made again: %s", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
    splits, told = make()
    tensors = named_tensors(splits)
    if splits.task != task or not all(_is_plain(tensor) for tensor in tensors.values()):
        return splits, told
    if sum(tensor.nbytes for tensor in tensors.values()) > LARGEST:
        return splits, told
    try:
        _write(folder, root / "drafts" / uuid.uuid4().hex, tensors, told)
    except OSError as error:
        raise StoreError(f"{root}: the store can't be written to: {error.strerror}; set FINEFUSE_STORE.") from error
    return _read(folder, task)


def named_tensors(splits: Splits) -> dict[str, Tensor]:
    """All tensors of the splits: "train.x", "train.y" and so on."""
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    return {f"{name}.{side}": tensor for name, part in parts.items() for side, tensor in (("x", part.x), ("y", part.y))}


def content_of(tensor: Tensor) -> str:
    """A digest of the elements, their type and their number, whatever the device and the order in memory."""
    found = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    if tensor.numel():
        rows = max(1, BLOCK * len(tensor) // tensor.nbytes) if tensor.ndim else 1
        for part in torch.split(tensor.detach().reshape(tensor.shape or (1,)), rows):
            found.update(part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _is_plain(tensor: Tensor) -> bool:
    return type(tensor) is Tensor and tensor.layout == torch.strided and tensor.device.type == "cpu"


def _write(folder: Path, draft: Path, tensors: Mapping[str, Tensor], told: Record) -> None:
    draft.mkdir(parents=True)
    try:
        about = {name: _write_tensor(draft / f"{name}.bin", tensor) for name, tensor in tensors.items()}
        (draft / "meta.json").write_text(json.dumps({"tensors": about, "told": told}))
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft.rename(folder)
    except OSError:
        if not (folder / "meta.json").is_file():  # else another writer was first
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_tensor(file: Path, tensor: Tensor) -> dict[str, Any]:
    """Elements in the order in which they lie in memory, so that they lie there again in the same way."""
    order = sorted(range(tensor.ndim), key=lambda dim: -tensor.stride()[dim])
    laid_out = tensor.detach().permute(order).contiguous()
    laid_out.reshape(-1).view(torch.uint8).numpy().tofile(file)
    dtype, content = str(tensor.dtype).removeprefix("torch."), content_of(tensor)
    return {"dtype": dtype, "shape": list(laid_out.shape), "order": order, "content": content}


def _read(folder: Path, task: Task) -> tuple[Splits, Record]:
    meta = json.loads((folder / "meta.json").read_bytes())
    read = {name: _read_tensor(folder / f"{name}.bin", **about) for name, about in meta["tensors"].items()}
    train, val, test = (Data(read[f"{name}.x"], read[f"{name}.y"]) for name in ("train", "val", "test"))
    return Splits(task, train, val, test), dict(meta["told"])


def _read_tensor(file: Path, dtype: str, shape: list[int], order: list[int], content: str) -> Tensor:
    kind = getattr(torch, dtype)
    size = torch.Size(shape).numel()
    if file.stat().st_size != size * kind.itemsize:
        raise ValueError(f"{file.name} has another size")
    flat = torch.from_file(str(file), shared=False, size=size, dtype=kind) if size else torch.empty(0, dtype=kind)
    back = sorted(range(len(order)), key=order.__getitem__)
    tensor = flat.reshape(shape).permute(back)
    if content_of(tensor) != content:
        raise ValueError(f"{file.name} has another content")
    return tensor
