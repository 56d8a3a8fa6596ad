from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from finefuse import Entry, Ref, hookimpl
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError, PluginError
from finefuse.types import Job
from helpers.plugging import PLUGINS, Observer, complaint, fixture, module_with, names, only_info, write

JOB = Job("tune", Ref("cnn-s"), Ref("digits"), Ref("full"), "full")


pytestmark = pytest.mark.usefixtures("clean_imports")


# ------------------------------------------------------------------------------------------------- the sound plugin


def test_a_file_provides_what_it_says():
    registry = fixture("good")
    found = registry.find("scheme", "thaw")
    assert (found.kind, found.entry.summary) == ("scheme", "unfreeze one stage per phase, top down")
    assert found.provider == str(PLUGINS / "good.py")
    assert names(registry, "fusion") == ["loudest"]
    assert names(registry, "dataset") == []
    info = only_info(registry)
    assert (info.name, info.door, info.status, info.reason) == (found.provider, "file", "ok", "")
    assert info.hooks == ("finefuse_fusions", "finefuse_schemes")


def test_build_resolved_and_parameters():
    registry = fixture("good")
    thaw = registry.build("scheme", Ref.of("thaw", lr=1))
    assert dataclasses.asdict(thaw) == {"lr": 1.0}
    assert isinstance(thaw.lr, float)
    assert isinstance(thaw, registry.target("scheme", "thaw"))
    assert registry.resolved("scheme", Ref("thaw")) == {"lr": 1e-3}
    assert registry.resolved("fusion", Ref("loudest")) == {}
    (lr,) = registry.parameters("scheme", "thaw")
    assert dataclasses.astuple(lr) == ("lr", "float", "0.001", "> 0")


def test_entries_are_sorted_and_may_not_be_changed_from_outside():
    registry = fixture("clashing_a", "good")
    assert names(registry, "scheme") == ["only-a", "thaw", "twin"]
    registry.entries("scheme").clear()
    assert len(registry.entries("scheme")) == 3


def test_an_address_is_imported_when_used_and_only_then():
    registry = fixture("broken_target")
    assert "good" not in sys.modules
    assert registry.build("scheme", Ref("thaw-by-address")).lr == 1e-3
    assert "good" in sys.modules


def test_no_torch_is_run_to_resolve_a_scheme_that_imports_it(tmp_path: Path):
    script = f"""
        import sys
        from finefuse.discovery.registry import Registry
        from finefuse.types import Ref

        registry = Registry([{str(PLUGINS / "good.py")!r}])
        thaw = registry.build("scheme", Ref.of("thaw", lr=0.5))
        assert registry.resolved("fusion", Ref("loudest")) == {{}}
        assert "torch._C" not in sys.modules and "torch" not in sys.modules
        assert sys.modules[type(thaw).__module__].torch.__version__  # now it is asked for
        assert "torch._C" in sys.modules
        print("fine")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


# ------------------------------------------------------------------------------------------------- names that clash


def test_a_clash_names_both_and_costs_only_its_name():
    registry = fixture("clashing_a", "clashing_b")
    a, b = (str(PLUGINS / f"clashing_{x}.py") for x in "ab")
    assert complaint(registry, "twin") == (
        f"scheme 'twin' is provided 2 times, by {a} and by {b}; leave out or rename one"
    )
    assert names(registry, "scheme") == ["only-a", "only-b", "twin", "twin"]
    assert registry.build("scheme", Ref("only-a"))


def test_two_objects_of_one_class_can_be_told_apart():
    text = complaint(Registry([Observer(), Observer()], entry_points=False), "by-object")
    assert f"plugins[0], an object of {Observer.__module__}.Observer and by plugins[1], an object" in text


def test_an_installed_provider_is_named_with_its_distribution(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    dist = tmp_path / "twins-2.dist-info"
    write(dist, "METADATA", "Metadata-Version: 2.1\nName: twins\nVersion: 2\n")
    write(dist, "entry_points.txt", "[finefuse]\na = clashing_a\n")
    monkeypatch.syspath_prepend(PLUGINS)
    monkeypatch.syspath_prepend(tmp_path)
    assert "by clashing_a (twins 2) and by " in complaint(Registry([str(PLUGINS / "clashing_b.py")]), "twin")


def test_unknown_names_get_a_hint():
    registry = fixture("good")
    assert complaint(registry, "Thwa") == "there is no scheme 'Thwa'; did you mean 'thaw'?"
    assert complaint(registry, "zzz") == "there is no scheme 'zzz'; there is thaw"
    assert complaint(registry, "loudest") == "there is no scheme 'loudest'; 'loudest' is a fusion"
    assert complaint(registry, "cnn", "backbone") == "there is no backbone 'cnn'; no plugin provides one"


# ------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("params", "message", "key"),
    [
        ({"lrr": 1.0}, "scheme 'thaw' has no parameter 'lrr'; did you mean 'lr'? It has: lr", "lrr"),
        ({"momentum": 1.0}, "scheme 'thaw' has no parameter 'momentum'. It has: lr", "momentum"),
        ({"lr": -1}, "scheme 'thaw': lr must be greater than 0, not -1", "lr"),
        ({"lr": "1e-3"}, "scheme 'thaw': lr must be a number, not '1e-3'", "lr"),
        ({"lr": True}, "scheme 'thaw': lr must be a number, not True", "lr"),
        ({"lr": None}, "scheme 'thaw': lr must be a number, not None", "lr"),
        ({"lr": float("nan")}, "scheme 'thaw': lr must be a finite number, not nan", "lr"),
    ],
)
def test_wrong_parameters_are_one_sentence(params: dict[str, object], message: str, key: str):
    with pytest.raises(ParameterError) as caught:
        fixture("good").build("scheme", Ref.of("thaw", **params))
    assert (str(caught.value), caught.value.key) == (message, key)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("plain", "Plain is not a frozen dataclass; write @dataclass(frozen=True) above it"),
        ("thawed", "Thawed is not a frozen dataclass"),
        ("idle", "Idle has no method 'tune'"),
    ],
)
def test_what_is_no_strategy_is_refused(name: str, reason: str):
    registry = fixture("not_a_dataclass")
    assert only_info(registry).status == "ok"
    assert reason in complaint(registry, name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("negative", "Negative the default of lr must be greater than 0, not -1.0"),
        ("text", "Text the default of steps must be an integer, not 'ten'"),
        ("foreign", "Foreign has a field of a type that no suite can write: Unable to generate"),
        ("unknown", "Unknown has a field whose type is not known when it runs; import it outside TYPE_CHECKING"),
    ],
)
def test_a_wrong_class_is_the_authors_fault(name: str, reason: str):
    text = complaint(fixture("bad_default"), name)
    assert reason in text
    assert "finefuse_plugin_bad_default" in text


def test_a_bad_default_is_no_matter_where_another_value_is_given():
    registry = fixture("bad_default")
    assert registry.build("scheme", Ref.of("negative", lr=0.5)).lr == 0.5
    with pytest.raises(ParameterError, match="steps must be an integer, not 'nine'"):
        registry.build("scheme", Ref.of("text", steps="nine"))


# --------------------------------------------------------------------------------------- what an entry may require


def needing(*modules: str, extra: str = "", target: str = "good:Thaw") -> Registry:
    entry = Entry("picky", target, "needs more", requires=modules, extra=extra)
    return Registry([module_with("picky_plugin", finefuse_schemes=hookimpl(lambda: [entry]))], entry_points=False)


def test_an_entry_whose_module_is_not_installed_is_listed_and_can_not_be_built():
    registry = needing("json", "not_installed", "nor_this")
    assert only_info(registry).status == "ok"
    assert names(registry, "scheme") == ["picky"]
    missing = "needs not_installed and nor_this: pip install not_installed nor_this"
    assert registry.find("scheme", "picky").missing == missing
    assert complaint(registry, "picky") == f"scheme 'picky' is unavailable: it {missing}"
    with pytest.raises(PluginError, match="is unavailable"):
        registry.resolved("scheme", Ref("picky"))


def test_parameters_of_an_unavailable_entry_can_be_shown_where_its_module_can_be_read(monkeypatch):
    monkeypatch.syspath_prepend(PLUGINS)
    assert [p.name for p in needing("not_installed").parameters("scheme", "picky")] == ["lr"]
    with pytest.raises(PluginError) as caught:
        needing("not_installed", target="broken_import:Scheme").parameters("scheme", "picky")
    assert str(caught.value).startswith("scheme 'picky' is unavailable: it needs not_installed: pip install")


def test_what_is_installed_is_not_imported_to_find_out(monkeypatch):
    monkeypatch.syspath_prepend(PLUGINS)
    assert needing("broken_import").find("scheme", "picky").missing == ""  # importing it would raise
    assert needing("good").build("scheme", Ref("picky")).lr == 1e-3
    with monkeypatch.context() as blocked:
        blocked.setitem(sys.modules, "good", None)
        assert needing("good").find("scheme", "picky").missing == "needs good: pip install good"


def test_the_install_line_names_distribution_and_extra(monkeypatch, tmp_path):
    entry = 'Entry("picky", "good:Thaw", requires=("not_installed",), extra="more")'
    door = write(
        tmp_path,
        "picky.py",
        f"from finefuse import Entry, hookimpl\n@hookimpl\ndef finefuse_schemes():\n    yield {entry}",
    )
    assert Registry([door], entry_points=False).find("scheme", "picky").missing.endswith("pip install not_installed")
    dist = tmp_path / "fussy-1.dist-info"
    write(dist, "METADATA", "Metadata-Version: 2.1\nName: fussy\nVersion: 1\n")
    write(dist, "entry_points.txt", "[finefuse]\nfussy = picky\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert Registry().find("scheme", "picky").missing == "needs not_installed: pip install 'fussy[more]'"


@pytest.mark.parametrize("requires", ["peft", ("a.b",), (".a",), (3,), ["peft"]])
def test_requires_is_a_tuple_of_top_level_modules(requires: object):
    entry = Entry("picky", "good:Thaw", requires=requires)  # type: ignore[arg-type]
    registry = Registry([module_with("odd", finefuse_schemes=hookimpl(lambda: [entry]))], entry_points=False)
    assert "which is no Entry" in only_info(registry).reason


# --------------------------------------------------------------------------------------------- suites and observers


def test_suites_are_known_by_their_file(tmp_path: Path):
    class First:
        @hookimpl
        def finefuse_suites(self):
            return [tmp_path / "quick.toml", str(tmp_path / "own.toml")]

    class Second:
        @hookimpl
        def finefuse_suites(self):
            yield tmp_path / "elsewhere" / "quick.toml"
            yield tmp_path / "own.toml"
            yield 3

    registry = Registry([First(), Second()], entry_points=False)
    assert registry.suites() == {"quick": tmp_path / "quick.toml", "own": tmp_path / "own.toml"}
    first, second = registry.plugins()
    assert (first.status, second.status) == ("ok", "broken")
    assert (
        f"suite 'quick' at {tmp_path / 'elsewhere' / 'quick.toml'} is hidden by the one of plugins[0]" in second.reason
    )
    assert "finefuse_suites yielded 3, which is not a path" in second.reason


def test_observers_are_told_and_guarded():
    observer = Observer()
    registry = Registry([str(PLUGINS / "raising_hook.py"), observer], entry_points=False)
    record = {"status": "ok"}
    complaints = registry.job_done(JOB, record)
    assert record == {"status": "ok"}
    assert observer.seen == ["full ok"]
    assert complaints == [
        f"plugin {PLUGINS / 'raising_hook.py'}: finefuse_job_done raised ValueError: no more paper, at {JOB.cell}"
    ]
    assert Registry([observer], entry_points=False).job_done(JOB, {"status": "failed"}) == []
