from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from annotated_types import Ge, Gt, Interval, Len, Lt, MultipleOf

from finefuse.discovery.parameters import Parameter, holders_of, list_parameters, make, resolved
from finefuse.errors import ParameterError, PluginError
from finefuse.types import Spec

Choice = Literal["sgd", "adam"]


class Shape(Enum):
    ROUND = "round"


@dataclass(frozen=True)
class Base:
    seed: int
    level: ClassVar[str] = "output"
    needs = ("val",)


@dataclass(frozen=True)
class Many(Base):
    lr: Annotated[float, Gt(0), Lt(1)] | None = None
    optimizer: Choice = "sgd"
    rates: tuple[Annotated[float, Ge(0)], ...] = (1, 2)
    names: Annotated[list[str], Len(1, 3)] = field(default_factory=lambda: ["a"])
    width: Annotated[int, Interval(ge=1, le=64), MultipleOf(2)] | Literal["auto"] = "auto"
    shape: Shape = Shape.ROUND
    file: Path = Path("x.bin")
    norm: bool = False
    top: float = float("inf")
    cache: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.seed == 13:
            raise ValueError("13 brings bad luck")
        if self.seed == 15:
            raise ValueError("two\nlines")
        if self.seed == 14:
            raise KeyError("fourteen")


def complaint(error: type[PluginError] = ParameterError, **params: Any) -> str:
    with pytest.raises(error) as caught:
        make(Many, {"seed": 1, **params}, "scheme 'many'")
    assert type(caught.value) is error
    return str(caught.value).removeprefix("scheme 'many'")


def test_defaults_and_json_become_the_types_of_the_fields():
    many = make(Many, {"seed": 1, "rates": [3], "shape": "round", "file": "y.bin", "lr": 0.5}, "scheme 'many'")
    assert many == Many(1, lr=0.5, rates=(3.0,), file=Path("y.bin"))
    assert isinstance(many.rates[0], float)
    assert many.names == ["a"]


@dataclass(frozen=True)
class Open:
    lr: float = 0.1
    rates: tuple[float, ...] = ()
    inner: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Holding:
    one: Path
    some: tuple[Path, ...]
    spec: Spec
    specs: Annotated[list[Spec], Len(1)]
    perhaps: Annotated[Path | None, "a note"] = None
    long: str | dict[str, Any] | int = 1
    no: dict[str, Any] = field(default_factory=dict)
    text: str | None = None


def test_resolved_is_the_same_for_the_same_meaning_and_survives_json():
    who = "scheme 'many'"
    default, given = make(Many, {"seed": 1}, who), make(Many, {"seed": 1, "rates": [1.0, 2.0]}, who)
    assert json.dumps(resolved(default)) == json.dumps(resolved(given))
    assert make(Many, json.loads(json.dumps(resolved(given))), who) == given
    assert resolved(given)["shape"] == "round"
    assert "cache" not in resolved(given)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"seed": 1.0}, ": seed must be an integer, not 1.0"),
        ({"seed": True}, ": seed must be an integer, not True"),
        ({"norm": 1}, ": norm must be a boolean, not 1"),
        ({"optimizer": "adm"}, ": optimizer must be 'sgd' or 'adam', not 'adm'"),
        ({"rates": 1}, ": rates must be an array, not 1"),
        ({"rates": [1, -2]}, ": rates[1] must be greater than or equal to 0, not -2"),
        ({"rates": ["x", -2]}, ": rates[0] must be a number, not 'x'"),
        ({"names": []}, ": names must have at least 1 item after validation, not 0"),
        ({"width": "atuo"}, ": width must be an integer or 'auto', not 'atuo'"),
        ({"file": 3}, ": file must be a string, not 3"),
        ({"lr": 1}, ": lr must be less than 1, not 1"),
        (
            {"cache": {}},
            " has no parameter 'cache'. It has: seed, lr, optimizer, rates, names, width, shape, file, norm, top",
        ),
        ({"level": "x"}, " has no parameter 'level'. It has: seed"),
        ({"seed": 13}, ": 13 brings bad luck"),
        ({"seed": 15}, ": two lines"),
        ({"seed": 14}, ": KeyError: 'fourteen'"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(params: dict[str, Any], message: str):
    assert complaint(**params).startswith(message)


def test_long_values_are_cut():
    assert len(complaint(norm="x" * 10_000)) < 100


def test_what_is_missing_is_named():
    with pytest.raises(ParameterError, match=r"scheme 'many' needs a value for 'seed'") as caught:
        make(Many, {}, "scheme 'many'")
    assert caught.value.key == "seed"


def test_a_wrong_value_goes_before_a_wrong_default():
    @dataclass(frozen=True)
    class Both:
        first: int = "x"  # type: ignore[assignment]
        second: int = 2

    with pytest.raises(ParameterError, match="second must be an integer"):
        make(Both, {"second": "y"}, "metric 'both'")
    with pytest.raises(PluginError, match=r"in .*Both the default of first must be an integer, not 'x'"):
        make(Both, {}, "metric 'both'")


def test_a_default_that_raises_is_an_error_of_ours():
    @dataclass(frozen=True)
    class Odd:
        made: int = field(default_factory=lambda: 1 // 0)

    with pytest.raises(ParameterError, match="metric 'odd': ZeroDivisionError: integer division or modulo by zero"):
        make(Odd, {}, "metric 'odd'")


def test_a_default_that_no_suite_can_write_is_shown():
    @dataclass(frozen=True)
    class Odd:
        thing: int = object()  # type: ignore[assignment]

    assert "<object object" in list_parameters(Odd, "metric 'odd'")[0].default
    with pytest.raises(PluginError, match="the default of thing must be an integer, not '<object"):
        make(Odd, {}, "metric 'odd'")


def test_a_class_whose_module_is_gone_is_described():
    cls = make_dataclass("Gone", [("lr", float, 0.1)], namespace={"__module__": "nowhere_at_all"}, frozen=True)
    assert list_parameters(cls, "scheme 'gone'") == [Parameter("lr", "float", "0.1", "")]


def test_a_class_without_parameters_says_so():
    @dataclass(frozen=True)
    class Bare:
        pass

    assert list_parameters(Bare, "fusion 'bare'") == []
    with pytest.raises(ParameterError, match=r"fusion 'bare' has no parameter 'lr'. It has none"):
        make(Bare, {"lr": 1}, "fusion 'bare'")


def test_describe_prints_types_defaults_and_bounds():
    assert list_parameters(Many, "scheme 'many'") == [
        Parameter("seed", "int", "required", ""),
        Parameter("lr", "float | None", "None", "> 0, < 1"),
        Parameter("optimizer", "'sgd' | 'adam'", "'sgd'", ""),
        Parameter("rates", "tuple[float, ...]", "[1, 2]", ">= 0"),
        Parameter("names", "list[str]", "['a']", "length >= 1, length <= 3"),
        Parameter("width", "int | 'auto'", "'auto'", ">= 1, <= 64, a multiple of 2"),
        Parameter("shape", "Shape", "'round'", ""),
        Parameter("file", "Path", "'x.bin'", ""),
        Parameter("norm", "bool", "False", ""),
        Parameter("top", "float", "inf", ""),
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lr": math.inf}, "scheme 'open': lr must be a finite number, not inf"),
        ({"lr": -math.inf}, "scheme 'open': lr must be a finite number, not -inf"),
        ({"lr": math.nan}, "scheme 'open': lr must be a finite number, not nan"),
        ({"lr": 10**400}, "scheme 'open': lr must be a finite number, not a number of 401 digits"),
        ({"rates": [0.1, math.inf]}, "scheme 'open': rates[1] must be a finite number, not inf"),
        ({"inner": {"a": {"low": math.nan}}}, "scheme 'open': inner.a.low must be a finite number, not nan"),
    ],
)
def test_numbers_that_are_not_finite_are_out_of_bounds(params, message):
    with pytest.raises(ParameterError) as caught:
        make(Open, params, "scheme 'open'")
    assert str(caught.value) == message
    assert caught.value.key == next(iter(params))


def test_an_author_s_own_infinity_may_be_given_again():
    assert make(Many, {"seed": 1, "top": math.inf}, "x").top == math.inf


def test_what_a_type_mentions():
    assert holders_of(Holding, "x", Path) == {"one", "some", "perhaps"}
    assert holders_of(Holding, "x", Spec) == {"spec", "specs", "long"}
