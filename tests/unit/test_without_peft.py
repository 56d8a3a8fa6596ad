"""The zoo where peft is not installed."""

from __future__ import annotations

import sys

import pytest

from finefuse import Ref
from finefuse.declare.suite import load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import PluginError, SuiteError

ADAPTERS = ["lora", "rslora", "lora-plus", "dora", "loha", "lokr", "hira", "vera", "miss", "ia3"]
HEAD = 'name = "x"\ndatasets = ["digits"]\nbackbones = ["cnn-s"]\nschemes = [\n  "full",\n'


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setitem(sys.modules, "peft", None)
    return Registry()


@pytest.mark.parametrize("name", ADAPTERS)
def test_schemes_by_peft_are_unavailable_with_the_install_line(registry, name):
    assert registry.find("scheme", name).missing == "needs peft: pip install 'finefuse[peft]'"
    assert registry.parameters("scheme", name)
    with pytest.raises(PluginError, match="is unavailable"):
        registry.build("scheme", Ref(name))


def test_no_other_scheme_needs_it(registry):
    needing = [found.entry.name for found in registry.entries("scheme") if "peft" in found.missing]
    assert sorted(needing) == sorted(ADAPTERS)


@pytest.mark.parametrize("item", ['"lora"', '{ use = "lora", r = 2 }', '{ use = "chain", of = ["full", "lora"] }'])
def test_a_suite_that_needs_it_says_so_with_file_and_line(registry, tmp_path, item):
    file = tmp_path / "s.toml"
    file.write_text(f"{HEAD}  {item},\n]\n")
    with pytest.raises(SuiteError) as caught:
        load_suite(file, registry)
    message = "schemes[1]: scheme 'lora' is unavailable: it needs peft: pip install 'finefuse[peft]'"
    assert str(caught.value) == f"{file}:6: {message}"
