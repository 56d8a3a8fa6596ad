"""Lines of JSON: what each holds, fast, and exactly as Python's own module reads it."""

from __future__ import annotations

import json
from typing import Any

import orjson

_DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_LONG = b"0" * 19
"""So many digits may be an integer of more than 64 bits, which orjson would round."""


def load(line: bytes) -> Any:
    """The value on a line; None where that is no JSON. NaN and infinite numbers are read as well."""
    if _LONG not in line.translate(_DIGITS):
        try:
            return orjson.loads(line)
        except orjson.JSONDecodeError:
            pass  # also where there is a NaN
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
