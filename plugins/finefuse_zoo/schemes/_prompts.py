"""Sentences about classes, in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from finefuse import FinefuseError


def read_prompts(file: Path) -> Mapping[str, Sequence[str]]:
    """The sentences in a JSON file by class.

    Raises:
        FinefuseError: if it is no such file.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FinefuseError(f"{file} can't be read: {error}") from error
    good = isinstance(told, dict) and all(
        isinstance(of, list) and of and all(isinstance(sentence, str) for sentence in of) for of in told.values()
    )
    if not good:
        raise FinefuseError(f"{file} should hold a JSON object with a list of sentences for each class")
    return told  # type: ignore[no-any-return]
