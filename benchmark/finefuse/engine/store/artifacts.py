"""Artifacts: weights and outputs by content address, in a folder that all suites share.

Nothing is unpickled, and nothing is trusted: everything stored has digests, which are checked when it is read.
"""

from __future__ import annotations

import hashlib
import json
import math
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

from finefuse.errors import FinefuseError, StoreError
from finefuse.rows import wrong_with
from finefuse.types import Record

if TYPE_CHECKING:
    from torch import Tensor

DIGESTS = "digests.json"
"""The digest of each file of an artifact; what a former version kept has none, and counts as not there."""
SHARED_GIB = 2.0
ABANDONED = 24 * 3600.0
"""Seconds after which an unfinished draft is assumed to be from a killed writer."""


def default_store() -> Path:
    """`$FINEFUSE_STORE`, or `finefuse/store` in the user's cache folder."""
    if named := os.environ.get("FINEFUSE_STORE"):
        return Path(named).expanduser()
    return user_cache_path("finefuse", appauthor=False) / "store"


def shared_room() -> int:
    """Bytes that what jobs share may take, `$FINEFUSE_SHARED_GIB`; 0 where they are to share nothing.

    Raises:
        FinefuseError: if the variable holds no number from 0.
    """
    said = os.environ.get("FINEFUSE_SHARED_GIB", "")
    try:
        gib = float(said) if said else SHARED_GIB
    except ValueError:
        gib = math.nan
    if not 0 <= gib < math.inf:
        raise FinefuseError(f"FINEFUSE_SHARED_GIB is {said!r}; a number from 0 was expected")
    return int(gib * 1024**3)


class Artifacts:
    """`<root>/<2 hex>/<address>/` with JSON and safetensors files, and `<root>/rows/<2 hex>/<key>.json`.

    Each entry appears at once and complete; a second writer of the same address changes nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._text = str(self.root)

    def has(self, address: str) -> bool:
        """Whether the artifact is there; it was complete when it was kept."""
        return os.path.isfile(f"{self._text}/{address[:2]}/{address}/{DIGESTS}")  # noqa: PTH113 - asked of every job

    def unchecked(self, address: str) -> bool:
        """Whether a former version kept the artifact, without digests: it can't be checked and counts as not there."""
        return not self.has(address) and (self._folder(address) / "meta.json").is_file()

    def intact(self, address: str) -> bool:
        """Whether all of an artifact that is there is still what was kept; reads every byte of it."""
        folder = self._folder(address)
        try:
            names = _digests(folder)
            for name in names:
                _checked(folder / name)
        except StoreError:
            return False
        return True

    def discard(self, address: str) -> None:
        """Remove an artifact, at once.

        Raises:
            StoreError: if the folder can't be written to.
        """
        with self._writing(), self._draft() as draft:
            draft.parent.mkdir(parents=True, exist_ok=True)
            self._folder(address).rename(draft)

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
            digests = {path.name: _digest(path) for path in sorted(draft.iterdir())}
            (draft / DIGESTS).write_text(json.dumps(digests))
            folder.parent.mkdir(parents=True, exist_ok=True)
            if not self.has(address):
                self._give_name(draft, address)

    def meta(self, address: str) -> Record:
        """What was said about the artifact when it was kept.

        Raises:
            StoreError: if it isn't there, can't be read or is damaged; so do `origin`, `weights` and `outputs`.
        """
        return _read_json(self._folder(address) / "meta.json")

    def origin(self, address: str) -> Record:
        """Which job made the artifact, under which settings; see `finefuse.engine.store.origin`."""
        return _read_json(self._folder(address) / "origin.json")

    def has_weights(self, address: str) -> bool:
        """Whether an artifact is one network, which is kept with its weights."""
        return (self._folder(address) / "weights.safetensors").exists()

    def weights(self, address: str) -> dict[str, Tensor]:
        """A network's state dict, on the CPU."""
        return _read_tensors(self._folder(address) / "weights.safetensors")

    def outputs(self, address: str) -> dict[str, Tensor]:
        """A network's outputs by split, on the CPU."""
        return _read_tensors(self._folder(address) / "outputs.safetensors")

    def save_row(self, key: str, record: Record) -> None:
        """Keep a finished row, so that a killed driver loses nothing and another results folder can take it over."""
        self._keep(self._row(key), {"key": key, "digest": _digest_of(record), "row": record})

    def row(self, key: str) -> Record | None:
        """The row kept under this key, if there is one.

        Raises:
            StoreError: if it is damaged, has another key, or contradicts itself.
        """
        if not os.path.exists(f"{self._text}/rows/{key[:2]}/{key}.json"):  # noqa: PTH110 - of 100,000 keys most have none
            return None
        path = self._row(key)
        with _reading(path):
            kept = json.loads(path.read_bytes())
        row = kept.get("row") if isinstance(kept, dict) else None
        if not isinstance(row, dict) or kept.get("digest") != _digest_of(row):
            raise StoreError(f"{path}: is not what was kept.")
        if not key == kept.get("key") == row.get("key"):
            raise StoreError(f"{path}: is the row of another key.")
        if wrong := wrong_with(row):
            raise StoreError(f"{path}: {wrong}.")
        return row

    def save_measured(self, place: str, fields: Record) -> None:
        """Keep what was measured under an address, for whoever would measure the same."""
        self._keep(self._measured(place), {"digest": _digest_of(fields), "fields": fields})

    def measured(self, place: str) -> Record | None:
        """What was measured under an address; None if nothing was, or it is damaged."""
        try:
            kept = json.loads(self._measured(place).read_bytes())
        except (OSError, ValueError):
            return None
        fields = kept.get("fields") if isinstance(kept, dict) else None
        return fields if isinstance(fields, dict) and kept.get("digest") == _digest_of(fields) else None

    def sweep(self) -> None:
        """Remove what killed writers left unfinished."""
        for draft in self._drafts.glob("*"):
            with suppress(OSError):  # it may belong to another process, or just be finished
                if draft.stat().st_mtime < time.time() - ABANDONED:
                    _remove(draft)

    def _keep(self, path: Path, kept: Record) -> None:
        with self._writing(), self._draft() as draft:
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(kept))
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(path)

    def _give_name(self, draft: Path, address: str) -> None:
        folder = self._folder(address)
        try:
            draft.rename(folder)
        except OSError:
            if (folder / DIGESTS).is_file():  # another writer was first
                return
            if not folder.exists():
                raise
            self.discard(address)  # a former version kept it, without digests
            draft.rename(folder)

    @property
    def _drafts(self) -> Path:
        return self.root / "drafts"

    def _folder(self, address: str) -> Path:
        return self.root / address[:2] / address

    def _row(self, key: str) -> Path:
        return self.root / "rows" / key[:2] / f"{key}.json"

    def _measured(self, place: str) -> Path:
        return self.root / "measured" / place[:2] / f"{place}.json"

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
    except (OSError, ValueError, RecursionError, SafetensorError) as error:
        raise StoreError(f"{path}: can't be read: {error}.") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(row: Record) -> str:
    return hashlib.sha256(json.dumps(row).encode()).hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    """What the files of an artifact were when they were kept."""
    path = folder / DIGESTS
    with _reading(path):
        digests = json.loads(path.read_bytes())
    if not isinstance(digests, dict) or not {"meta.json", "origin.json"} <= digests.keys():
        raise StoreError(f"{path}: is damaged.")
    return digests


def _checked(path: Path) -> Path:
    """A file of an artifact, if it is still what was kept."""
    kept = _digests(path.parent).get(path.name)
    with _reading(path):
        if kept is None and not path.exists():
            raise FileNotFoundError(path)
        found = _digest(path)
    if found != kept:
        raise StoreError(f"{path}: is damaged: it is not what was kept.")
    return path


def _read_json(path: Path) -> Record:
    with _reading(_checked(path)):
        return dict(json.loads(path.read_bytes()))


def _read_tensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    with _reading(_checked(path)):
        return load_file(path)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Each tensor separately: shared and strided storage is copied."""
    import torch
    from safetensors.torch import save_file

    apart = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    save_file(apart, path)


def _remove(draft: Path) -> None:
    if draft.is_dir():
        shutil.rmtree(draft, ignore_errors=True)
    else:
        draft.unlink(missing_ok=True)
