"""A plugin whose methods can't be called as the core calls them is refused when its class is imported."""

from __future__ import annotations

import re
from typing import Any

import pytest

from finefuse import Entry, hookimpl
from finefuse.discovery.registry import Registry
from finefuse.errors import PluginError
from helpers.plugging import module_with


def registry_of(kind: str, methods: dict[str, Any]) -> Registry:
    @hookimpl(specname=f"finefuse_{kind}s")
    def entries() -> list[Entry[Any]]:
        return [Entry("odd", type("Odd", (), methods))]

    return Registry([module_with("odd", entries=entries)], entry_points=False)


@pytest.mark.parametrize(
    ("kind", "methods", "said"),
    [
        ("scheme", {"tune": lambda self, model, data: None}, "has tune(model, data), which is called as tune(on)"),
        ("fusion", {"fuse": lambda self: None}, "has fuse(), which is called as fuse(of)"),
        ("metric", {"score": lambda self, y: 0.0}, "has score(y), which is called as score(outputs, y)"),
        ("reporter", {"write": staticmethod(lambda board: [])}, "has write(board), which is called as write(board, f"),
        ("observer", {"note": lambda self: None}, "has note(), which is called as note(text)"),
        ("scheme", {"tune": 3}, "has no method 'tune'"),
    ],
)
def test_a_method_that_takes_something_else_is_refused(kind: Any, methods: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=re.escape(f".Odd {said}")):
        registry_of(kind, methods).target(kind, "odd")


def test_a_method_may_take_more_if_it_need_not() -> None:
    methods = {"tune": lambda self, model, *, lr=0.1: None, "prepare": classmethod(lambda cls, net, more=1: None)}
    assert registry_of("scheme", methods).target("scheme", "odd").__name__ == "Odd"
