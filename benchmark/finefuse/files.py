"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Literal

from finefuse.errors import StoreError


def write_whole(path: Path, text: str, *, errors: Literal["strict", "backslashreplace"] = "strict") -> None:
    """Write a text file in UTF-8: whatever happens meanwhile, it is there as before, or with all of the text.

    `errors` says what becomes of what UTF-8 can't hold, as in `open`.

    Raises:
        StoreError: if the disk is full, say; nothing is left behind then.
    """
    real = Path(os.path.realpath(path))  # a link stays a link
    plain = real.is_file() or not real.exists()
    draft = real.with_name(f".{real.name}.{uuid.uuid4().hex}") if plain else real
    try:
        with draft.open("w", encoding="utf-8", errors=errors, newline="\n") as file:
            file.write(text)
            file.flush()
            if plain:
                os.fsync(file.fileno())
        if plain:
            draft.replace(real)
    except OSError as error:
        raise StoreError(f"{path}: can't be written: {error.strerror or error}.") from error
    finally:
        if plain:
            draft.unlink(missing_ok=True)
