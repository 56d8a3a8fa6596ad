"""What folders of Hugging Face say of a network or a tokeniser, read without its packages and without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from finefuse import FinefuseError
from finefuse.files import digest_of_text, digests, files_in
from finefuse.types import Vocabulary


def check_place(path: Path | None, hub: str | None) -> None:
    """A network is read from a folder, or from `name@revision` on the hub.

    Raises:
        ValueError: if both are given or neither is, or there is no revision.
    """
    if (path is None) == (hub is None):
        raise ValueError('needs a path, or hub = "name@revision", and not both')
    if hub is not None:
        split_hub(hub)


def split_hub(where: str) -> tuple[str, str]:
    """Name and revision of `name@revision` on the hub.

    Raises:
        ValueError: if there is no revision.
    """
    name, _, revision = where.partition("@")
    if not name or not revision:
        raise ValueError(f"{where!r} has no revision: write 'name@commit', to fix which tokeniser it is")
    return name, revision


def digest_of_network(path: Path | None, hub: str | None, endings: Sequence[str], what: str) -> str:
    """Digest of the files with these endings in the folder, or the name and revision.

    Raises:
        FinefuseError: if there is no such folder.
    """
    if path is None:
        return str(hub)
    if not path.is_dir():
        raise FinefuseError(f"{path}: there is no such folder; it should hold {what} of Hugging Face")
    known = digests(path, [name for name in files_in(path) if name.endswith(tuple(endings))])
    return digest_of_text(*known.keys(), *known.values())


def file_of(path: Path | None, hub: str | None, name: str) -> Path | None:
    """A file of the folder, or of what the hub's cache holds of `name@revision`; None where it isn't there."""
    if path is not None:
        return path / name if (path / name).is_file() else None
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = str(hub).partition("@")
    found = try_to_load_from_cache(repository, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def json_of(path: Path | None, hub: str | None, name: str) -> dict[str, Any] | None:
    """The object in a JSON file; None where it isn't there.

    Raises:
        FinefuseError: if it is no such file.
    """
    file = file_of(path, hub, name)
    if file is None:
        return None
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise FinefuseError(f"{file} can't be read: {error}") from error
    if not isinstance(found, dict):
        raise FinefuseError(f"{file} can't be read: it holds no JSON object")
    return found


def vocabulary(path: Path | None, hub: str | None) -> Vocabulary | None:
    """The tokens of a tokeniser, from tokenizer.json or vocab.txt; None where there is neither."""
    numbers = _numbers(path, hub)
    if numbers is None:
        return None
    told = (json_of(path, hub, "tokenizer_config.json") or {}) | (json_of(path, hub, "special_tokens_map.json") or {})
    padding = told.get("pad_token")
    token = padding.get("content") if isinstance(padding, dict) else padding
    digest = digest_of_text(*(f"{number} {token}" for token, number in sorted(numbers.items())))
    size = max(numbers.values(), default=-1) + 1
    return Vocabulary(str(path or hub), size, numbers.get(str(token)), digest)


def _numbers(path: Path | None, hub: str | None) -> Mapping[str, int] | None:
    """The number of each token."""
    if (whole := json_of(path, hub, "tokenizer.json")) is not None:
        model = whole.get("model", {}).get("vocab", {})
        pieces = model if isinstance(model, dict) else {piece: number for number, (piece, _) in enumerate(model)}
        return pieces | {str(added["content"]): int(added["id"]) for added in whole.get("added_tokens", ())}
    file = file_of(path, hub, "vocab.txt")
    if file is None:
        return None
    return {token: number for number, token in enumerate(file.read_text(encoding="utf-8").splitlines())}
