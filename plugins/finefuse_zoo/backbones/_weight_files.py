"""Files of weights by what is in them, not by what they are called, and how large they say they are."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from finefuse import FinefuseError
from finefuse.files import shards_in

HEAD = 512
NOT_WEIGHTS = {
    b"version https://git-lfs": "a pointer of git-lfs and not the file itself: run `git lfs pull`",
    b"<!doctype": "an HTML page: its download was answered with an error or a form",
    b"<html": "an HTML page: its download was answered with an error or a form",
    b"<?xml": "an XML text: its download was answered with an error",
    b"\x89hdf": "an HDF5 file, as Keras writes",
    b"gguf": "a GGUF file, as llama.cpp reads",
    b"\x93numpy": "an array of NumPy",
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"7z\xbc\xaf": "compressed by 7-Zip: unpack it",
}
"""How files begin that are often taken for weights, in lower case."""
FACTOR, LEAST = 16, 256 * 1024**2
"""A file may hold so many times the network's own bytes: optimizer states, averages, doubles; or `LEAST` bytes."""
LONGEST_HEADER = 100_000_000


def shards_of(file: Path) -> list[Path]:
    """The files that an index names (`model.safetensors.index.json`); none for any other file.

    Raises:
        FinefuseError: if it is JSON and no index, names files elsewhere, or one of them does not exist.
    """
    names = shards_in(file)
    if not names:
        with file.open("rb") as content:
            if content.read(HEAD).lstrip().startswith(b"{"):
                raise FinefuseError(f"the weights file {file} is JSON, but not an index of files of weights")
        return []
    shards = [file.parent / name for name in names if name and Path(name).name == name]
    if len(shards) != len(names):
        raise FinefuseError(f"the weights file {file} is an index of files that aren't beside it")
    for shard in shards:
        if not shard.is_file():
            raise FinefuseError(f"the weights file {file} is an index, and its part {shard.name} is missing")
    return shards


def content_of(file: Path, own: int | None) -> Any:
    """What is in a file, on the CPU; code in it is never run. `own` is the network's size in bytes, None for any size.

    Raises:
        FinefuseError: if it is no file of weights, cut off, or says that it holds far more than the network.
        Exception: whatever torch or safetensors raise about its inside.
    """
    import torch

    with file.open("rb") as opened:
        head = opened.read(HEAD)
    size = file.stat().st_size
    for begin, what in NOT_WEIGHTS.items():
        if head.lstrip().lower().startswith(begin):
            raise FinefuseError(f"the weights file {file} is {what}")
    if not size:
        raise FinefuseError(f"the weights file {file} is empty")
    if head[8:9] == b"{":
        from safetensors.torch import load_file

        _refuse_large(file, _declared(file, head, size), own)
        return load_file(file, device="cpu")
    if head.startswith(b"PK"):
        size = _zipped(file)
    elif not head.startswith(b"\x80"):
        raise FinefuseError(f"the weights file {file} is neither safetensors nor what torch.save wrote")
    _refuse_large(file, size, own)
    with file.open("rb") as opened:  # given its name, torch goes by the ending
        return torch.load(opened, map_location="cpu", weights_only=True)


def _declared(file: Path, head: bytes, size: int) -> int:
    """Bytes of tensors by the header of safetensors."""
    length = int.from_bytes(head[:8], "little")
    if length > min(LONGEST_HEADER, size - 8):
        raise FinefuseError(f"the weights file {file} is damaged: its header should have {length:,} bytes")
    with file.open("rb") as opened:
        opened.seek(8)
        header = json.loads(opened.read(length))
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    if (declared := max(ends, default=0)) > size - 8 - length:
        raise FinefuseError(f"the weights file {file} is cut off: {declared + 8 + length:,} bytes should be there")
    return int(declared)


def _zipped(file: Path) -> int:
    """Bytes of what torch.save wrote, which is never compressed."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except zipfile.BadZipFile as error:
        raise FinefuseError(f"the weights file {file} is cut off or damaged: {error}") from error
    if not any(member.filename.endswith("/data.pkl") for member in members):
        raise FinefuseError(f"the weights file {file} is a zip archive that torch.save did not write")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise FinefuseError(f"the weights file {file} is a compressed archive, which torch.save never writes")
    return sum(member.file_size for member in members)


def _refuse_large(file: Path, found: int, own: int | None) -> None:
    if own is not None and found > max(FACTOR * own, LEAST):
        has, needs = (f"{size / 1024**2:,.0f} MiB" for size in (found, own))
        raise FinefuseError(
            f"the weights file {file} says that it holds {has}, and the network has {needs}; save the state_dict alone"
        )
