"""How images are read, where decoded ones are kept, and remarks on them: without torch or Pillow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from finefuse.files import cache_folder, digest_of_text

FORMAT = "2"
"""Raised by hand when the same pictures would become other bits."""
SHOWN = 5
"""Names that a remark has at most."""
SAID = {
    "broken": "can't be read and are left out",
    "frames": "have several frames or pages, of which the first is taken",
    "transparent": "have transparent parts, which show {ground}",
}
"""What is said of the pictures that meta.json names under a key."""


@dataclass(frozen=True)
class Look:
    """`white` is the value that is white in pictures of more than 8 bits a channel, where the file doesn't say.

    `ground` is what shows through transparent parts.
    """

    white: float | None = None
    ground: Literal["white", "black"] = "white"


AS_USUAL = Look()


def place_of(content: str, shape: tuple[int, ...], look: Look) -> Path:
    """The folder of the decoded pictures whose content this stands for."""
    key = digest_of_text(content, repr(shape), repr(look), version("pillow"), FORMAT)
    return cache_folder() / key[:2] / key


def images_in(place: Path) -> int | None:
    """How many pictures were decoded, those that can't be read among them; None before that."""
    meta = _meta(place)
    return meta["shape"][0] if meta else None


def remarks_of(place: Path, where: Path | str, look: Look) -> list[str]:
    """A sentence each about pictures that are left out or not read as a whole; none before they are decoded."""
    meta = _meta(place)
    if not meta:
        return []
    total = meta["shape"][0]
    return [
        f"{where}: {len(names)} of {total} images {SAID[key].format(ground=look.ground)}: {some(names)}"
        for key in SAID
        if (names := list(meta[key]))
    ]


def some(names: Sequence[str]) -> str:
    """The first few of them, and how many more."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _meta(place: Path) -> dict[str, Any]:
    """What is known of the decoded pictures; nothing before they are decoded."""
    try:
        return dict(json.loads((place / "meta.json").read_bytes()))
    except FileNotFoundError:
        return {}
