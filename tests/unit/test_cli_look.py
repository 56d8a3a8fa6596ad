"""The verbs that look and change nothing: list, show, plugins, check, plan, schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from finefuse.discovery.described import ARXIV
from helpers.calling import Outcome, call
from helpers.planning import ran

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOYS = FIXTURES / "toys.py"
TOY = FIXTURES / "toys" / "toy.toml"


Cli = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Calls the command line in this process, from an empty folder, with the toys as a plugin."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FINEFUSE_STORE", str(tmp_path / "store"))

    return lambda *arguments: call(capsys, *arguments, "--plugin", TOYS)


def plugin(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.py"
    file.write_text(f"from finefuse import Entry, hookimpl\n{text}")
    return file


MISSPELLED = "@hookimpl\ndef finefuse_scheme():\n    yield Entry('x', 'a:B', '')\n"
SECOND_PLAIN = "@hookimpl\ndef finefuse_schemes():\n    yield Entry('plain', 'elsewhere:Plain', 'another')\n"


# ------------------------------------------------------------------------------------------------- list


def test_list_has_a_table_per_kind_with_name_summary_and_provider(cli: Cli) -> None:
    outcome = cli("list")
    assert (outcome.code, outcome.err) == (0, "")
    for kind in ("datasets", "backbones", "schemes", "fusions", "metrics", "executors", "reporters", "suites"):
        assert f"\n{kind}\n" in f"\n{outcome.out}"
    lines = [" ".join(line.split()) for line in outcome.out.splitlines()]
    assert f"clumsy always fails {TOYS}" in lines
    assert f"toy {TOY}" in lines


@pytest.mark.parametrize("word", ["scheme", "schemes"])
def test_list_of_one_kind(cli: Cli, word: str) -> None:
    outcome = cli("list", word)
    assert outcome.out.startswith("schemes\n")
    assert "plain" in outcome.out
    assert "blobs" not in outcome.out


def test_list_of_suites(cli: Cli) -> None:
    outcome = cli("list", "suites")
    assert "toy.toml" in outcome.out
    assert "always fails" not in outcome.out


@pytest.mark.parametrize(("word", "hint"), [("shceme", "did you mean 'scheme'"), ("zzz", "expected one of dataset")])
def test_list_of_an_unknown_kind(cli: Cli, word: str, hint: str) -> None:
    outcome = cli("list", word)
    assert outcome.code == 2
    assert outcome.err.startswith(f"error: there is no kind of plugin {word!r}; {hint}")


def test_list_points_out_a_broken_plugin(cli: Cli, tmp_path: Path) -> None:
    broken = plugin(tmp_path, "misspelled", MISSPELLED)
    outcome = cli("list", "schemes", "--plugin", broken)
    assert outcome.code == 0
    assert "always fails" in outcome.out
    why = "there is no hook 'finefuse_scheme'; did you mean 'finefuse_schemes'?"
    assert f"plugin {broken} is broken: {why}" in outcome.out


def test_list_points_out_a_clash(cli: Cli, tmp_path: Path) -> None:
    other = plugin(tmp_path, "other", SECOND_PLAIN)
    outcome = cli("list", "schemes", "--plugin", other)
    assert outcome.code == 0
    last = outcome.out.splitlines()[-1]
    assert last.startswith("clash: the scheme 'plain' comes from ")
    assert str(other) in last
    assert str(TOYS) in last


PICKY = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Picky:
    lr: float = 0.01

    def tune(self, on):
        import not_installed

@hookimpl
def finefuse_schemes():
    yield Entry("picky", Picky, "is picky", requires=("not_installed",), extra="more")
"""


def test_list_and_show_say_what_an_unavailable_entry_needs(cli: Cli, tmp_path: Path) -> None:
    door = plugin(tmp_path, "picky", PICKY)
    outcome = cli("list", "schemes", "--plugin", door)
    missing = "unavailable, needs not_installed: pip install not_installed"
    assert outcome.code == 0
    assert f"is picky ({missing})" in outcome.out
    shown = cli("show", "picky", "--plugin", door)
    assert shown.code == 0
    assert shown.out.splitlines()[:3] == ["scheme picky: is picky", f"from {door}", missing]
    assert shown.out.splitlines()[-1] == "lr           float   0.01"


def test_a_suite_that_names_an_unavailable_entry_stops_before_any_compute(cli: Cli, tmp_path: Path) -> None:
    door = plugin(tmp_path, "picky", PICKY)
    suite = tmp_path / "s.toml"
    suite.write_text("name = 's'\ndatasets = ['blobs']\nbackbones = ['mlp']\nschemes = [\n  'plain',\n  'picky',\n]\n")
    for verb in (["check", suite], ["plan", suite], ["run", suite]):
        outcome = cli(*verb, "--plugin", door)
        assert outcome.code == 2
        assert outcome.err == (
            f"error: {suite}:6: schemes[1]: scheme 'picky' is unavailable: "
            "it needs not_installed: pip install not_installed\n"
        )
    assert not (tmp_path / "results").exists()


# ------------------------------------------------------------------------------------------------- show


def test_show_tells_summary_docstring_paper_provider_and_parameters(cli: Cli) -> None:
    outcome = cli("show", "plain", "--kind", "scheme")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "scheme plain: tune everything at once",
        f"from {TOYS}",
        "paper: https://arxiv.org/abs/1234.56789",
        "",
        "Tune everything at once.",
        "",
        "The usual way, see Author et al. (arXiv 1234.56789).",
        "",
        "parameter    type    default    bounds",
        "lr           float   0.01       > 0",
    ]


def test_show_of_a_name_of_two_kinds_shows_both(cli: Cli) -> None:
    outcome = cli("show", "plain")
    assert "scheme plain: tune everything at once" in outcome.out
    assert "fusion plain: a fusion with a scheme's name" in outcome.out


def test_show_passes_over_a_generated_docstring(cli: Cli) -> None:
    outcome = cli("show", "clumsy", "--kind", "schemes")
    assert outcome.out.splitlines() == ["scheme clumsy: always fails", f"from {TOYS}", "", "no parameters"]


def test_show_of_a_suite_prints_a_file_to_start_from(cli: Cli) -> None:
    outcome = cli("show", "toy")
    assert outcome.out == f"# {TOY}\n{TOY.read_text()}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plian"], "there is no plugin or suite 'plian'; did you mean 'plain'?"),
        (["tyo"], "there is no plugin or suite 'tyo'; did you mean 'toy'?"),
        (["xyzzy"], "there is no plugin or suite 'xyzzy'; `finefuse list` shows what there is"),
        (["blob", "--kind", "dataset"], "there is no dataset 'blob'; did you mean 'blobs'?"),
        (["blobs", "--kind", "scheme"], "there is no scheme 'blobs'; `finefuse list` shows what there is"),
        (["to", "--kind", "suite"], "there is no suite 'to'; did you mean 'toy'?"),
    ],
)
def test_show_of_an_unknown_name(cli: Cli, arguments: list[str], message: str) -> None:
    assert cli("show", *arguments) == Outcome(2, "", f"error: {message}\n")


def test_show_of_a_name_that_clashes_names_both_providers(cli: Cli, tmp_path: Path) -> None:
    other = plugin(tmp_path, "other", SECOND_PLAIN)
    outcome = cli("show", "plain", "--plugin", other)
    assert outcome.code == 2
    assert str(other) in outcome.err
    assert str(TOYS) in outcome.err


def test_show_of_a_class_that_cannot_be_imported(cli: Cli, tmp_path: Path) -> None:
    text = "@hookimpl\ndef finefuse_schemes():\n    yield Entry('gone', 'no_such_module:Gone', '')\n"
    outcome = cli("show", "gone", "--plugin", plugin(tmp_path, "hollow", text))
    assert outcome.code == 2
    assert "no_such_module" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("text", "papers"),
    [
        ("(ULMFiT, Howard & Ruder 2018, 1801.06146).", ["1801.06146"]),
        ("see arXiv:1409.1556 and arXiv 2203.05482", ["1409.1556", "2203.05482"]),
        ("doi 10.1111/j.1467-9868.2005.00503.x and 10.24432/1801.06146, 12345.67890", []),
    ],
)
def test_papers_are_found_with_and_without_the_word_arxiv(text: str, papers: list[str]) -> None:
    assert ARXIV.findall(text) == papers


# ------------------------------------------------------------------------------------------------- plugins


def test_plugins_lists_door_and_hooks(cli: Cli) -> None:
    outcome = cli("plugins")
    (line,) = (line for line in outcome.out.splitlines() if line.startswith(str(TOYS)))
    assert line.split()[1:4] == ["-", "file", "ok"]
    assert "finefuse_schemes, finefuse_suites" in line


def test_plugins_says_why_one_is_broken(cli: Cli, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    outcome = cli("plugins", "--plugin", broken)
    assert outcome.code == 0
    assert f"{broken} is broken: " in outcome.out
    assert "ZeroDivisionError: division by zero" in outcome.out
    assert "Traceback" not in outcome.out


def test_plugins_prints_tracebacks_if_asked(cli: Cli, tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0\n")
    outcome = cli("plugins", "--plugin", broken, "--traceback")
    assert "Traceback (most recent call last)" in outcome.out
    assert f'File "{broken}", line 1' in outcome.out


# ------------------------------------------------------------------------------------------------- check, schema


def test_check_counts_what_a_suite_has(cli: Cli) -> None:
    line = "toy: 1 data set, 1 backbone, 1 scheme, 1 fusion, 1 pool, 1 metric, 2 seeds, 11 jobs; all good\n"
    assert cli("check", "toy") == Outcome(0, line, "")
    assert cli("check", TOY) == Outcome(0, line, "")


def test_check_of_a_suite_with_a_mistake_names_file_and_line(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TOY.read_text().replace('"plain"', '"plian"', 1))
    outcome = cli("check", file)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {file}:8: ")
    assert "did you mean 'plain'?" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("suite", ["tyo", "no/such/file.toml", "."])
def test_check_of_a_suite_that_is_not_there(cli: Cli, suite: str) -> None:
    outcome = cli("check", suite)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert "Traceback" not in outcome.err


def test_schema_accepts_the_suite_and_refuses_a_misspelled_key(cli: Cli) -> None:
    import tomllib

    schema = json.loads(cli("schema").out)
    suite = tomllib.loads(TOY.read_text())
    jsonschema.validate(suite, schema)
    suite["seds"] = suite.pop("seeds")
    with pytest.raises(jsonschema.ValidationError, match="seds"):
        jsonschema.validate(suite, schema)


# ------------------------------------------------------------------------------------------------- plan


def test_plan_lists_every_job_with_key_state_cost_and_cell(cli: Cli) -> None:
    outcome = cli("plan", "toy")
    assert outcome.code == 0
    head, blank, header, *rows = outcome.out.splitlines()
    assert head == "toy: 11 jobs, 11 to run; the cost is unknown until some have run"
    assert blank == ""
    assert header.split() == ["key", "state", "cost", "cell"]
    assert len(rows) == 11
    assert rows[1].split()[1:] == ["to", "run", "?", "tune/blobs/mlp/plain//s0/m0/r0"]


def test_plan_with_only_keeps_what_is_needed(cli: Cli) -> None:
    outcome = cli("plan", "toy", "--only", "plain")
    assert "fuse/" not in outcome.out
    assert "pretrain/" in outcome.out


def test_plan_says_what_is_cached_and_why_the_rest_is_stale(cli: Cli, tmp_path: Path) -> None:
    from finefuse import plan

    jobs = plan("toy", device="cpu", plugins=[str(TOYS)]).jobs
    rows = [{**ran(one, 2.0), "parts": dict(one.parts)} for one in jobs[:6]]
    rows[1] |= {"key": "old", "parts": {**rows[1]["parts"], "budget: epochs": "other"}}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = cli("plan", "toy", "--device", "cpu", "--out", "out", "--why")
    head, _, _, *lines = outcome.out.splitlines()
    assert head.startswith("toy: 11 jobs, 6 to run, 4 cached, 1 stale; about 12 s of training and fusing, without")
    assert "gone from the store" in lines[0]  # pretraining has its row, but the stale job needs the weights
    assert lines[2].split()[1:] == ["cached", jobs[2].cell]
    assert lines[1].split()[1:5] == ["stale", "2.0", "s", jobs[1].cell]
    assert "epochs" in lines[1]


def test_plan_tells_of_lines_that_count_for_nothing(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text('{"cell": \n{"cell": "a", "key": "b"}\n')
    outcome = cli("plan", "toy", "--out", tmp_path)
    assert outcome.code == 0
    assert "records.jsonl:1: is not a JSON object (other such lines: 1): it counts for nothing" in outcome.err
    assert "11 to run" in outcome.out
