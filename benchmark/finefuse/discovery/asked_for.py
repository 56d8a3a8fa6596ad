"""Which finefuse a plugin asks for: in the metadata of its distribution, or in a block at the top of its file.

A block is what packaging.python.org calls inline script metadata:

```python
# /// script
# dependencies = ["finefuse>=0.2"]
# ///
```
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from importlib.metadata import Distribution

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from finefuse.version import __version__

NAME = "finefuse"
_BLOCK = re.compile(r"^# /// script\s*$\n(?P<content>(?:^#(?: .*)?$\n)+?)^# ///\s*$", re.MULTILINE)


def refused(requirements: Iterable[str], version: str = __version__) -> str:
    """Why this finefuse can't be used by what has these requirements; "" if it can, or none is about finefuse."""
    for text in requirements:
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if applies and canonicalize_name(wanted.name) == NAME and not wanted.specifier.contains(version, True):
            return f"it asks for finefuse{wanted.specifier}, and this is finefuse {version}"
    return ""


def of_distribution(distribution: Distribution | None) -> Sequence[str]:
    """What an installed package requires."""
    return (distribution.requires or ()) if distribution else ()


def of_source(source: str) -> Sequence[str]:
    """What the block of a file names; () without one, or if it can't be read."""
    block = _BLOCK.search(source)
    if block is None:
        return ()
    lines = (line.removeprefix("#").removeprefix(" ") for line in block["content"].splitlines())
    try:
        found = tomllib.loads("\n".join(lines)).get("dependencies", ())
    except tomllib.TOMLDecodeError:
        return ()
    return [text for text in found if isinstance(text, str)] if isinstance(found, list) else ()
