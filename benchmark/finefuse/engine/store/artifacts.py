"""Artifacts: weights and outputs by content address, in a folder that all suites share. Nothing is ever unpickled."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_cache_path
from safetensors import SafetensorError

from finefuse.errors import StoreError
from finefuse.types import Record

if TYPE_CHECKING:
    from torch import Tensor

ABANDONED = 24 * 3600.0
"""Seconds after which a draft that nobody finished is taken for a killed writer's."""


def default_store() -> Path:
    """`$FINEFUSE_STORE`, or `finefuse/store` in the user's cache folder."""
    if named := os.environ.get("FINEFUSE_STORE"):
        return Path(named).expanduser()
    return user_cache_path("finefuse", appauthor=False) / "store"


class Artifacts:
    """`<root>/<2 hex>/<address>/` with JSON and safetensors files, and `<root>/rows/<2 hex>/<key>.json`.

    Whatever is written appears at once and whole; a second writer of the same address changes nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def has(self, address: str) -> bool:
        """Whether the artifact is there; it then is complete."""
        return (self._folder(address) / "meta.json").is_file()

    def save(
        self,
        address: str,
        meta: Record,
        *,
        origin: Record | None = None,
        weights: Mapping[str, Tensor] | None = None,
        outputs: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Keep an artifact.

        Raises:
            StoreError: if the folder can't be written to or the disk is full; nothing is left behind then.
        """
        folder = self._folder(address)
        with self._writing(), self._draft() as draft:
            draft.mkdir(parents=True)
            for name, tensors in (("weights", weights), ("outputs", outputs)):
                if tensors is not None:
                    _write_tensors(draft / f"{name}.safetensors", tensors)
            (draft / "origin.json").write_text(json.dumps(origin or {}))
            (draft / "meta.json").write_text(json.dumps(meta))
            folder.parent.mkdir(parents=True, exist_ok=True)
            if not self.has(address):
                _rename(draft, folder)

    def meta(self, address: str) -> Record:
        """What was said about the artifact when it was kept.

        Raises:
            StoreError: if it isn't there or can't be read; so do `origin`, `weights` and `outputs`.
        """
        return _read_json(self._folder(address) / "meta.json")

    def origin(self, address: str) -> Record:
        """Which job made the artifact, under which settings; see `finefuse.engine.store.origin`."""
        return _read_json(self._folder(address) / "origin.json")

    def weights(self, address: str) -> dict[str, Tensor]:
        """A network's state dict, on the CPU."""
        return _read_tensors(self._folder(address) / "weights.safetensors")

    def outputs(self, address: str) -> dict[str, Tensor]:
        """A network's outputs by split, on the CPU."""
        return _read_tensors(self._folder(address) / "outputs.safetensors")

    def save_row(self, key: str, record: Record) -> None:
        """Keep a finished row, so that a killed driver loses nothing and another results folder can take it over."""
        path = self._row(key)
        with self._writing(), self._draft() as draft:
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(record))
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(path)

    def row(self, key: str) -> Record | None:
        """The row kept under this key, if there is one."""
        path = self._row(key)
        return _read_json(path) if path.exists() else None

    def sweep(self) -> None:
        """Remove what killed writers left unfinished."""
        for draft in self._drafts.glob("*"):
            with suppress(OSError):  # it may be somebody else's, or just be finished
                if draft.stat().st_mtime < time.time() - ABANDONED:
                    _remove(draft)

    @property
    def _drafts(self) -> Path:
        return self.root / "drafts"

    def _folder(self, address: str) -> Path:
        return self.root / address[:2] / address

    def _row(self, key: str) -> Path:
        return self.root / "rows" / key[:2] / f"{key}.json"

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """A path to write to before the rename; removed if it is still there at the end."""
        draft = self._drafts / uuid.uuid4().hex
        try:
            yield draft
        finally:
            _remove(draft)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise StoreError(f"{self.root}: the store can't be written to: {why}; set FINEFUSE_STORE.") from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise StoreError(f"{path}: not in the store.") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise StoreError(f"{path}: can't be read: {error}; delete {path.parent} and run again.") from error


def _read_json(path: Path) -> Record:
    with _reading(path):
        return dict(json.loads(path.read_text()))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    with _reading(path):
        return load_file(path)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Each tensor by itself: shared and strided storage is copied apart."""
    import torch
    from safetensors.torch import save_file

    apart = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    save_file(apart, path)


def _rename(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / "meta.json").is_file():  # else another writer was first
            raise


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
