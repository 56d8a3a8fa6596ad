"""The samples in the documentation work: plugins load and keep the rules, suites can be planned, commands run."""

from __future__ import annotations

import importlib
import inspect
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from finefuse import api, testing
from finefuse.cli import app, main
from finefuse.discovery.registry import Registry

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
VERBS: dict[str, Any] = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
TOYS = ROOT / "tests" / "fixtures" / "toys.py"


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `finefuse VERB ...` in a block or in the running text, with the page it stands on."""
    for name, text in TEXTS.items():
        lines = [line for kind, block in BLOCK.findall(text) if kind == "bash" for line in block.splitlines()]
        lines += re.findall(r"`(finefuse [^`]+)`", BLOCK.sub("", text))
        for line in lines:
            for part in re.split(r"&&|\|", line):
                words = shlex.split(part)
                if words and Path(words[0]).name == "finefuse":
                    yield name, words[1:]


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, whose modules can be imported, and are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def files(page: str) -> dict[str, str]:
    """The blocks of a page that begin with the name of a file, by that name."""
    named = [(re.match(r"# (\w+\.(?:py|toml))\n", block), block) for _, block in BLOCK.findall(TEXTS[page])]
    return {match[1]: block for match, block in named if match}


def call(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def test_every_page_is_found() -> None:
    assert {"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/plugin.md"} <= TEXTS.keys()


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", TEXTS[page])):
        if not target.startswith(("http://", "https://")):
            file, _, anchor = target.partition("#")
            path = (ROOT / page).parent / file if file else ROOT / page
            assert path.exists() or path.parts[-2:] == ("quick", "leaderboard.md"), target
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE) if anchor else []
            slugs = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
            assert not anchor or anchor in slugs, target


def test_every_command_names_a_verb_and_options_that_exist() -> None:
    found = [(page, words) for page, words in commands() if words[0] not in ("VERB", "--version")]
    assert len(found) > 20
    for page, (verb, *rest) in found:
        assert verb in VERBS, (page, verb)
        known = {name for p in VERBS[verb].params for name in p.opts} | {"--help"}
        assert {word for word in rest if word.startswith("-")} <= known, (page, verb, rest)


@pytest.mark.parametrize("page", [page for page, text in TEXTS.items() if "```toml" in text])
def test_suites_can_be_planned(page: str, workshop: Path) -> None:
    doors = []
    for name, text in files(page).items():
        (workshop / name).write_text(text)
        doors += [str(workshop / name)] if "hookimpl" in text else []
    for name in re.findall(r'"([\w-]+\.(?:pt|safetensors))"', TEXTS[page]):
        (workshop / name).touch()  # a plan looks at no more than their digests
    for kind, block in BLOCK.findall(TEXTS[page]):
        if kind == "toml":
            (workshop / "sample.toml").write_text(block)
            assert api.plan(workshop / "sample.toml", device="cpu", plugins=doors).jobs


@pytest.mark.parametrize("page", [page for page in TEXTS if any(name.endswith(".py") for name in files(page))])
def test_plugins_are_sound_and_their_tests_pass(page: str, workshop: Path) -> None:
    importlib.invalidate_caches()
    for name, text in files(page).items():
        (workshop / name).write_text(text)
    for name, text in files(page).items():
        if "hookimpl" in text:
            (info,) = [info for info in Registry([name]).plugins() if info.name.endswith(name)]
            assert (info.status, info.reason) == ("ok", "")
        if name.startswith("test_"):
            module = importlib.import_module(name.removesuffix(".py"))
            tests = [value for key, value in vars(module).items() if key.startswith("test_")]
            assert tests
            for test in tests:
                run_test(test)


def run_test(test: Callable[..., None]) -> None:
    """As pytest would, once per rule if it takes `scheme_check`."""
    if "scheme_check" in inspect.signature(test).parameters:
        for check in testing.SCHEME_CHECKS.values():
            test(check)
    else:
        test()


def test_the_readmes_scheme_keeps_the_rules(workshop: Path) -> None:
    (workshop / "thaw.py").write_text(files("README.md")["thaw.py"])
    testing.check_scheme(importlib.import_module("thaw").Thaw)


LEFT_OUT = ("ab", "calibrate", "compare", "export", "history", "matrix", "merge", "report", "site", "verify")


@pytest.mark.parametrize("page", ["README.md", "docs/plugin.md", "docs/ci.md"])
def test_commands_of_a_page_work_in_their_order(
    page: str, workshop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` is planned instead, because it takes minutes; what installs, runs or needs results is left out."""
    monkeypatch.setenv("FINEFUSE_STORE", str(workshop / "store"))
    done = 0
    for kind, block in BLOCK.findall(TEXTS[page]):
        if match := re.match(r"# (\w+\.(?:py|toml))\n", block):
            (workshop / match[1]).write_text(block)
        for line in block.splitlines() if kind == "bash" and "pip install" not in block else ():
            program, verb, *rest = shlex.split(line)
            assert program == "finefuse"
            if verb not in LEFT_OUT:
                assert call("plan" if verb == "run" else verb, *rest) == 0, capsys.readouterr().err
                done += 1
    assert done
    assert capsys.readouterr().err == ""


def test_the_page_on_plugins_names_every_rule_of_the_kit() -> None:
    rules = re.findall(
        r"^\| `([a-z-]+)` \|", TEXTS["docs/plugin.md"].split("## Test it")[1].split("\n## ")[0], flags=re.MULTILINE
    )
    assert sorted(rules) == sorted({*testing.SCHEME_CHECKS, *testing.FUSION_CHECKS})


def test_the_page_on_plugins_names_all_that_a_scheme_gets() -> None:
    table = TEXTS["docs/plugin.md"].split("What `tune` gets:")[1].split("\n\n")[1]
    rows = re.findall(r"^\| (`.+?) \|", table, flags=re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(names) == sorted(vars(testing.small_tuning()))


def test_the_python_sample_of_the_readme_runs(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a toy in place of the suite, which would take minutes."""
    real, asked = api.run, []

    def run(suite: str) -> api.Run:
        asked.append(suite)
        return real("toy", plugins=str(TOYS), workers=0, store=workshop / "store", quiet=True)

    monkeypatch.setattr(api, "run", run)
    (sample,) = [b for kind, b in BLOCK.findall(TEXTS["README.md"]) if kind == "python" and "finefuse.run(" in b]
    printed: list[Any] = []
    exec(compile(sample, "README.md", "exec"), {"__name__": "__main__", "print": printed.append})
    assert asked == ["mine.toml"]
    assert {"strategy", "rank"} <= set(printed[0].columns)
