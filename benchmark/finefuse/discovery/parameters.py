"""The parameters of a plugin: the fields of its frozen dataclass, checked with pydantic before any compute starts."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
import reprlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError
from pydantic_core import ErrorDetails, to_jsonable_python

from finefuse.errors import FinefuseError, ParameterError, PluginError, did_you_mean

_BOUNDS = {
    "gt": ">",
    "ge": ">=",
    "lt": "<",
    "le": "<=",
    "multiple_of": "a multiple of",
    "min_length": "length >=",
    "max_length": "length <=",
}
"""Attributes of the bounds in annotated-types, and how they are written."""


@dataclass(frozen=True)
class Parameter:
    """One parameter as `show` prints it; `default` is "required" where there is none."""

    name: str
    type: str
    default: str
    bounds: str


def make(cls: type, params: Mapping[str, Any], who: str) -> Any:
    """An instance of a plugin's class; `who` names it in errors, as in "scheme 'full'".

    Types are strict: text is not a number and True is not an integer, but an integer may be given for a float. Numbers
    are finite, unless the author's default is not.

    Raises:
        ParameterError: if a parameter is unknown, missing, or of the wrong type or size.
        PluginError: if the class itself is wrong: no frozen dataclass, unknown types, a default out of its own bounds.
    """
    adapter, fields = _adapter(cls, who), _fields(cls)
    for key in params:
        if key not in fields:
            has = f"It has: {', '.join(fields)}" if fields else "It has none"
            hint = did_you_mean(key, fields)
            raise ParameterError(f"{who} has no parameter {key!r}{hint or '.'} {has}", key=key)
        usual = not _required(fields[key]) and params[key] == _default(fields[key])
        for place, number in () if usual else _out_of_bounds(key, params[key]):
            raise ParameterError(f"{who}: {place} must be a finite number, not {number}", key=key)
    try:
        values = {name: _default(field) for name, field in fields.items() if not _required(field)} | dict(params)
        return adapter.validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise _explained(cls, who, params, error.errors(include_url=False)) from error
    except FinefuseError as error:
        raise ParameterError(f"{who}: {error}") from error
    except Exception as error:  # whatever the plugin's __post_init__ or a default's factory raises
        raise ParameterError(f"{who}: {type(error).__name__}: {error}") from error


def resolved(instance: Any) -> dict[str, Any]:
    """All parameters of an instance, defaults included, as JSON would hold them."""
    return {name: to_jsonable_python(getattr(instance, name)) for name in _fields(type(instance))}


def holders_of(cls: type, who: str, kind: Any) -> frozenset[str]:
    """The parameters whose type mentions another: `Path` in `tuple[Path, ...]`, `Spec` in `Spec | None`."""
    _adapter(cls, who)
    return frozenset(name for name, hint in _hints(cls).items() if _mentions(hint, kind))


def list_parameters(cls: type, who: str) -> list[Parameter]:
    """The parameters of a plugin's class, in the order it declares them."""
    _adapter(cls, who)
    hints = _hints(cls)
    return [
        Parameter(
            name,
            _type(hints[name]),
            "required" if _required(field) else repr(_default(field)),
            ", ".join(_bounds(hints[name])),
        )
        for name, field in _fields(cls).items()
    ]


@lru_cache(maxsize=1024)
def _adapter(cls: type, who: str) -> TypeAdapter[Any]:
    where = f"{who}: {cls.__module__}.{cls.__qualname__}"
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise PluginError(f"{where} is not a frozen dataclass; write @dataclass(frozen=True) above it")
    try:
        adapter = TypeAdapter(cls)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError) as error:
        reason = str(error).splitlines()[0].partition(". Set ")[0]
        raise PluginError(f"{where} has a field of a type that no suite can write: {reason}") from error
    if not adapter.pydantic_complete:
        raise PluginError(f"{where} has a field whose type is not known when it runs; import it outside TYPE_CHECKING")
    return adapter


def _fields(cls: type) -> dict[str, Field[Any]]:
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


def _out_of_bounds(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """Numbers that are infinite, not a number, or too large for a float, and where they stand."""
    if isinstance(value, float) and not math.isfinite(value):
        yield place, str(value)
    elif isinstance(value, int) and abs(value) > sys.float_info.max:
        yield place, f"a number of {len(str(value)) if value.bit_length() < 10_000 else 'thousands of'} digits"
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _out_of_bounds(f"{place}.{name}", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for i, inner in enumerate(value):
            yield from _out_of_bounds(f"{place}[{i}]", inner)


def _required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _default(field: Field[Any]) -> Any:
    """As a suite would write it; what no suite can write becomes text, and then fails as any wrong text does."""
    value = field.default if field.default_factory is MISSING else field.default_factory()
    return to_jsonable_python(value, fallback=repr)


def _explained(cls: type, who: str, params: Mapping[str, Any], errors: Sequence[ErrorDetails]) -> PluginError:
    """The first thing that is wrong, in one sentence; of a union's members, all that they expected."""
    first = min(errors, key=lambda e: bool(e["loc"]) and e["loc"][0] not in params)
    key = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return ParameterError(f"{who} needs a value for {key!r}", key=key)
    place = _place(first)
    wishes = " or ".join(dict.fromkeys(_wish(e) for e in errors if _place(e) == place))
    text = f"{place} {wishes}".strip().replace(" or must be ", " or ")
    if place and ", not " not in text:
        text += f", not {reprlib.repr(first['input'])}"
    if key and key not in params:
        return PluginError(f"{who}: in {cls.__module__}.{cls.__qualname__} the default of {text}")
    return ParameterError(f"{who}: {text}", key=key)


def _place(error: ErrorDetails) -> str:
    """`rates[1]`; what pydantic adds to tell the members of a union apart is left out."""
    name, *inner = error["loc"] or ("",)
    return str(name) + "".join(f"[{part}]" for part in inner if isinstance(part, int))


def _wish(error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        return " ".join(str(error["ctx"]["error"]).split())
    text = re.sub(r"^\w+ should ", "must ", error["msg"])
    return re.sub(r" a valid (?=[aeiou])", " an ", text).replace(" a valid ", " a ")


def _hints(cls: type) -> dict[str, Any]:
    """The types of the fields, and of nothing else: a ClassVar's may be unknown when it runs."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        names = getattr(sys.modules.get(base.__module__), "__dict__", {})
        for name, hint in inspect.get_annotations(base).items():
            if name in _fields(cls):
                hints[name] = eval(hint, names) if isinstance(hint, str) else hint
    return hints


def _mentions(hint: Any, kind: Any) -> bool:
    """Whether a type is another or has it inside; a union has all the members of another that it can stand for."""
    if get_origin(hint) is Annotated:
        return _mentions(hint.__origin__, kind)
    union = get_origin(hint) in (Union, UnionType)
    wanted, found = set(get_args(kind)) or {kind}, set(get_args(hint)) if union else {hint}
    return wanted <= found or (get_origin(hint) is not Literal and any(_mentions(p, kind) for p in get_args(hint)))


def _type(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _type(args[0])
    if origin in (Union, UnionType):
        return " | ".join(map(_type, args))
    if origin is Literal:
        return " | ".join(map(repr, args))
    if args:
        return f"{_type(origin)}[{', '.join(map(_type, args))}]"
    if hint is None or hint is type(None):
        return "None"
    return "..." if hint is Ellipsis else getattr(hint, "__name__", str(hint))


def _bounds(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return []
    found = []
    for part in getattr(hint, "__metadata__", ()):
        values = ((sign, getattr(part, name, None)) for name, sign in _BOUNDS.items())
        found += [f"{sign} {value}" for sign, value in values if value is not None]
    inner = (hint.__origin__,) if get_origin(hint) is Annotated else get_args(hint)
    return found + [bound for part in inner for bound in _bounds(part)]
