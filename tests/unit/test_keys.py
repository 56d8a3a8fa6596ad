from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finefuse.declare import keys
from finefuse.declare.keys import Shared, address, canonical, derive_seed, digest, environment, explain
from finefuse.errors import FinefuseError
from finefuse.files import file_digest
from finefuse.processor import instruction_sets, processor
from finefuse.types import Ref, Settings

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.text(), json_values))
def test_canonical_forgets_order_and_nothing_else(value: dict[str, object]):
    backwards = dict(reversed(value.items()))
    assert canonical(value) == canonical(backwards)
    assert json.loads(canonical(value)) == value
    assert digest(value) == digest(backwards)


def test_values_that_differ_have_other_digests():
    values = [1, 1.0, "1", True, None, [], {}, "", [1], {"a": 1}, {"a": 1.0}, {"b": 1}, 0.1, 0.1 + 2e-17, "\ud800"]
    assert len({digest(value) for value in values}) == len(values)
    assert digest((1, 2)) == digest([1, 2])


def test_keys_are_the_same_on_every_machine_and_for_ever():
    """Another value here means that no stored results are found again."""
    assert digest({"lr": 0.1}) == "9c9ba942d8bb6213"
    assert address({"seed": "0", "a": "b"}) == "52153957d4f889895051dfe63642f3fe"
    assert derive_seed(3, dataset="digits", member=1) == 4951291797067974434


def test_addresses_depend_on_every_part():
    parts = {"seed": "0", "scheme": "full"}
    assert len(address(parts)) == 32
    assert address(parts) == address(dict(reversed(parts.items())))
    others = [{**parts, "seed": "1"}, {**parts, "extra": ""}, {"seed": "0"}, {"seedscheme": "0full"}, {}]
    assert len({address(other) for other in [parts, *others]}) == 6


@settings(max_examples=50)
@given(st.integers(), st.text(), st.integers())
def test_seeds_fit_and_depend_on_names_not_on_order(seed: int, dataset: str, member: int):
    found = derive_seed(seed, dataset=dataset, member=member)
    assert 0 <= found < 2**63
    assert found == derive_seed(seed, member=member, dataset=dataset)
    assert found != derive_seed(seed + 1, member=member, dataset=dataset)
    assert found != derive_seed(seed, member=member + 1, dataset=dataset)


def test_seeds_are_the_same_in_every_process():
    here = derive_seed(3, dataset=Ref.of("digits", shots=3), purpose="order")
    script = "from finefuse import Ref; from finefuse.declare.keys import derive_seed; "
    script += "print(derive_seed(3, dataset=Ref.of('digits', shots=3), purpose='order'))"
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    assert int(there.stdout) == here


def test_environment_is_the_kind_of_device_not_which():
    assert environment("cuda:1", Settings()) == environment("cuda", Settings())
    facts = {
        "device kind": "cpu",
        "torch": metadata.version("torch"),
        "core": str(keys.RESULTS_VERSION),
    }
    assert environment("cpu", Settings()) == facts | instruction_sets(processor(), os.environ)


# ---------------------------------------------------------------------------------------------------------- explain


def test_explain_names_what_changed():
    old = {"source zoo/full.py": "a" * 16, "lr": "0.1", "gone": "x", "same": "y", "empty": ""}
    new = {"source zoo/full.py": "b" * 16, "lr": "0.2", "same": "y", "fresh": "z", "empty": "1"}
    assert explain(old, new) == (
        "source zoo/full.py changed; lr was 0.1 and is 0.2; empty was nothing and is 1; fresh is new; gone is gone"
    )
    assert explain(old, old) == "nothing changed"


def test_explain_stays_short():
    old = {f"part {i}": "a" for i in range(9)}
    text = explain(old, dict.fromkeys(old, "b"))
    assert text.startswith("part 0 was a and is b; ")
    assert text.endswith("part 4 was a and is b; and 4 more")


# ------------------------------------------------------------------------------------------------------ file_digest


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FINEFUSE_CACHE", raising=False)
    return tmp_path / "cache" / "finefuse" / "data" / "digests"


def old_file(file: Path, content: bytes, age: float = 100.0) -> Path:
    file.write_bytes(content)
    when = file.stat().st_mtime - age
    os.utime(file, (when, when))
    return file


def test_a_files_digest_is_remembered(memory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("finefuse.files.RECENT", -1)
    file = old_file(tmp_path / "weights.bin", b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(file) == expected
    assert [json.loads(one.read_text())[file.name][-1] for one in memory.iterdir()] == [expected]
    monkeypatch.setattr("hashlib.file_digest", None)  # it is not read again
    assert file_digest(file) == expected


def test_a_changed_file_is_read_again(memory: Path, tmp_path: Path):
    file = old_file(tmp_path / "weights.bin", b"abc")
    other = old_file(tmp_path / "other.bin", b"xyz")
    digests = {file_digest(file), file_digest(other), file_digest(old_file(file, b"abd", age=50.0))}
    digests.add(file_digest(old_file(file, b"abcd", age=50.0)))
    assert len(digests) == 4
    assert len(list(memory.iterdir())) == 2


def test_a_file_of_this_moment_is_not_trusted_to_stay(memory: Path, tmp_path: Path):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"abc")
    status = file.stat()
    first = file_digest(file)
    file.write_bytes(b"xyz")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # the clock of the disk is too coarse to tell
    assert file_digest(file) != first
    assert [one.read_text() for one in memory.iterdir()] == ["{}"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"x": 1}', '{"x": [1]}', "\x00\xff"])
def test_a_torn_memory_is_read_as_none(memory: Path, tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("finefuse.files.RECENT", -1)
    file = old_file(tmp_path / "weights.bin", b"abc")
    file_digest(file)
    (kept,) = memory.iterdir()
    kept.write_text(content, encoding="latin-1")
    assert file_digest(file).startswith("ba7816bf")
    assert list(json.loads(kept.read_text())) == [file.name]


def test_a_disk_that_takes_nothing_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert file_digest(old_file(tmp_path / "weights.bin", b"abc")).startswith("ba7816bf")


def test_a_missing_file_is_a_sentence(memory: Path, tmp_path: Path):
    with pytest.raises(FinefuseError, match=r"weights\.bin can't be read: No such file or directory$"):
        file_digest(tmp_path / "weights.bin")


# --------------------------------------------------------------------------------------------------- no torch


def test_keys_are_computed_without_torch():
    script = """
        import sys
        from finefuse.declare import keys
        from finefuse.types import Settings
        found = {keys.address({"seed": str(i), **keys.environment("cpu", Settings())}) for i in range(10_000)}
        print(len(found), "torch" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10000", "False"]


def test_source_digests_are_offered_here_too():
    assert keys.source_digests is importlib.import_module("finefuse.discovery.imports").source_digests


PARTS = st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=12)


@given(PARTS, PARTS, PARTS)
def test_addresses_of_shared_parts_are_those_of_all_parts(
    parts: dict[str, str], own: dict[str, str], other: dict[str, str]
) -> None:
    shared = Shared(parts)
    for one in (own, other, dict(reversed(own.items())), {}):
        assert shared.address(one) == address(parts | one)
