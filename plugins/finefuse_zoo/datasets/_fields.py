"""Fields that data sets of images share, and what must hold between them."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Lt

Share = Annotated[float, Gt(0), Lt(1)]
Count = Annotated[int, Ge(1)]


def one_of(**given: object) -> None:
    """Refuse more than one of these parameters.

    Raises:
        ValueError: in one sentence.
    """
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ValueError(f"only one of {' and '.join(names)} can be given")


def all_different(**given: object) -> None:
    """Refuse the same file or folder for two parts.

    Raises:
        ValueError: in one sentence.
    """
    seen: dict[object, str] = {}
    for name, value in given.items():
        if value is not None and value in seen:
            raise ValueError(f"`{seen[value]}` and `{name}` are the same; leave one out, and a share is cut off for it")
        seen[value] = name
