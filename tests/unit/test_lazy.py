from __future__ import annotations

import importlib
import importlib.util
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from finefuse.discovery import lazy
from finefuse.discovery.lazy import heavy_imports_later

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules; `heavy`, `heavy.part` and `weighty` are those to be imported later."""
    monkeypatch.setattr(lazy, "HEAVY", ("heavy", "weighty", "pack.heavy"))
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(**files: str) -> None:
        for name, text in files.items():
            file = tmp_path / f"{name.replace('__in__', '/')}.py"
            file.parent.mkdir(exist_ok=True)
            file.write_text(textwrap.dedent(text), encoding="utf-8")
        importlib.invalidate_caches()

    write(
        heavy__in____init__="import sys; VALUE = 1; sys.ran = getattr(sys, 'ran', 0) + 1", heavy__in__part="VALUE = 2"
    )
    write(weighty="import importlib.util; found = importlib.util.find_spec('heavy') is not None; VALUE = 3")
    yield write
    vars(sys).pop("ran", None)
    for name in set(sys.modules) - before:
        if str(vars(sys.modules[name]).get("__file__")).startswith(str(tmp_path)):
            del sys.modules[name]


def ran() -> int:
    return vars(sys).get("ran", 0)


def load(name: str):
    with heavy_imports_later():
        return importlib.import_module(name)


def test_a_bare_import_waits_until_it_is_used(write: Write):
    write(user="import heavy\ndef use():\n    return heavy.VALUE")
    user = load("user")
    assert ran() == 0
    assert "heavy" not in sys.modules
    assert user.use() == 1
    assert user.use() == 1
    assert ran() == 1
    assert type(sys.modules["heavy"]).__name__ == "module"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("from heavy import VALUE", 1),
        ("import heavy\nVALUE = heavy.VALUE", 1),
        ("import heavy.part\nVALUE = heavy.part.VALUE", 2),
        ("from heavy import part\nVALUE = part.VALUE", 2),
        ("import heavy.part as p\nVALUE = p.VALUE", 2),
        ("import heavy\nfrom heavy.part import VALUE", 2),
        ("import heavy, weighty\nfrom heavy import VALUE", 1),
    ],
)
def test_what_is_needed_at_once_is_imported_at_once(write: Write, text: str, value: int):
    write(eager=text)
    assert value == load("eager").VALUE
    assert ran() == 1


def test_what_waits_still_waits_after_another_was_needed(write: Write):
    write(both="import heavy\nfrom weighty import VALUE\ndef use():\n    return heavy.VALUE")
    both = load("both")
    assert (both.VALUE, ran()) == (3, 0)
    assert both.use() == 1


def test_a_real_import_meets_no_stand_ins(write: Write):
    """`find_spec` fails on a module without a spec: torchmetrics looks for torchvision so."""
    write(finder="import heavy, weighty\nfound = weighty.found")
    assert load("finder").found is True


@pytest.mark.parametrize("text", ["import heavy\nfrom heavy.part import VALUE", "from heavy.part.deep import VALUE"])
def test_a_submodule_that_its_package_imports_is_loaded_once(write: Write, text: str):
    write(
        heavy__in____init__="import sys; sys.ran = getattr(sys, 'ran', 0) + 1; import heavy.part.deep",
        heavy__in__part="",
    )
    (Path(importlib.util.find_spec("heavy").origin).parent / "part.py").unlink()
    once = "import sys; sys.ran = getattr(sys, 'ran', 0) + 10; VALUE = 2"
    write(heavy__in__part__in____init__="from heavy.part.deep import VALUE", heavy__in__part__in__deep=once)
    write(eager=text)
    assert load("eager").VALUE == 2
    assert ran() == 11
    assert sys.modules["heavy.part.deep"].__spec__.origin.endswith("deep.py")
    assert sys.modules["heavy"].part is sys.modules["heavy.part"]


def test_a_submodule_taken_from_its_package_waits(write: Write):
    write(pack__in____init__="", pack__in__heavy="import sys; sys.ran = 7; VALUE = 4")
    write(taker="from pack import heavy\ndef use():\n    return heavy.VALUE")
    taker = load("taker")
    assert ran() == 0
    assert taker.use() == 4


def test_what_is_imported_already_is_left_alone(write: Write):
    heavy = importlib.import_module("heavy")
    write(user="import heavy")
    assert load("user").heavy is heavy


def test_nothing_is_left_behind(write: Write):
    before = set(sys.modules)
    with heavy_imports_later(), heavy_imports_later():
        assert isinstance(sys.modules["heavy"], lazy._Later)
    assert set(sys.modules) == before
    with pytest.raises(KeyError), heavy_imports_later():
        raise KeyError
    assert set(sys.modules) == before


def test_a_module_that_is_missing_is_missed_when_used(write: Write, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lazy, "HEAVY", ("not_there_at_all",))
    write(user="import not_there_at_all\ndef use():\n    return not_there_at_all.VALUE")
    user = load("user")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        user.use()
    assert "not_there_at_all" not in sys.modules


def test_an_attribute_that_is_missing_is_missed(write: Write):
    write(user="import heavy")
    with pytest.raises(AttributeError, match="module 'heavy' has no attribute 'NOTHING'"):
        load("user").heavy.NOTHING  # noqa: B018


def test_it_stays_out_of_the_way_of_inspect(write: Write):
    write(user="import heavy")
    assert not hasattr(load("user").heavy, "__file__")
    assert ran() == 0


def test_what_was_imported_is_used_without_a_look_at_all_modules(write: Write, monkeypatch: pytest.MonkeyPatch):
    write(user="import heavy\nimport weighty\ndef use():\n    return heavy.VALUE")
    user = load("user")
    looks, real_imports = [], lazy._real_imports
    monkeypatch.setattr(lazy, "_real_imports", lambda: (looks.append(1), real_imports())[1])
    assert user.use() == 1
    assert user.use() == 1
    assert looks == []
    with heavy_imports_later():  # weighty has a stand-in now, which an import must not meet
        assert user.use() == 1
    assert looks == [1]
