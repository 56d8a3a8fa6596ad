"""Placeholders for data that a fusion didn't declare in `needs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from finefuse.errors import FinefuseError, PluginError


class Undeclared:
    """Any use of it, by torch too, raises an error with its sentence, a `PluginError` unless another is given.

    It can be copied and printed, so `dataclasses.replace` and `repr` work on objects that hold it.
    """

    def __init__(self, sentence: str, error: type[FinefuseError] = PluginError) -> None:
        self._sentence, self._error = sentence, error

    def __repr__(self) -> str:
        return "<undeclared>"

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise self._error(self._sentence)

    def __getattr__(self, name: str) -> NoReturn:
        self._refuse()

    @classmethod
    def __torch_function__(
        cls, _: Any, __: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by torch's functions when one is among their arguments."""
        held = [*args, *(kwargs or {}).values()]
        held += [inner for arg in held if isinstance(arg, list | tuple) for inner in arg]
        next(arg for arg in held if isinstance(arg, cls))._refuse()

    __len__ = __iter__ = __getitem__ = __call__ = __bool__ = __float__ = __matmul__ = __add__ = __sub__ = _refuse


def undeclared(what: str, need: str = "", of: str = "of") -> Any:
    """The default of a field that is filled where the fusion declares the need of that name."""
    return Undeclared(f"the fusion reads `{of}.{what}` and its `needs` don't name {need or what!r}")
