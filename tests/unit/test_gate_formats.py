"""Every form of a comparison, read by what it is for, where that is installed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from finefuse.errors import FinefuseError
from finefuse.judge.compare import Comparison
from finefuse.judge.gate.documents import schema
from finefuse.judge.gate.formats import FORMATS, read_formats
from finefuse.judge.gate.reports import PER_KIND
from finefuse.judge.gate.shown import cut
from helpers.gates import BASE, Pair, flip

NASTY = "a,b: 100%\x1b[31m\n<c>&\"'"


@pytest.fixture
def found(pair: Pair) -> Comparison:
    """One of every judgement, and costs."""
    base = [pair.row(seed=seed, label=label) for label in ("worse", "same", NASTY) for seed in (0, 1)]
    base += [pair.row(label=label) for label in ("gone", "broken", "other")] + [pair.build.row("time", "same")]
    base += [pair.build.row(label="never", status="skipped")]
    new = []
    for row in base:
        if row["label"] == "worse":
            new.append(row | pair.scored(flip(60, 2)) | {"outputs": "others", "flops": 3 * row["flops"]})
        elif row["label"] == NASTY:
            new.append(row | pair.scored(flip(20, 18)) | {"outputs": "others"})
        elif row["label"] == "broken":
            new.append(pair.build.row(label="broken", status="oom", reason="no memory: 100%,\nreally"))
        elif row["label"] == "other":
            new.append(row | {"examples": "others"})
        elif row["label"] != "gone":
            new.append(row)
    return pair.compare(base, [*new, pair.row(label="fresh")], resolve="5pp")


def test_json_is_what_the_schema_says(found: Comparison) -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    document = json.loads(found.render("json"))
    jsonschema.validate(document, schema())
    assert document == json.loads(json.dumps(found.to_dict()))
    assert (document["passed"], document["failures"]) == (False, list(found.failures))
    assert document["counts"]["cell"]["regressed"] == 2
    assert len(document["verdicts"]) == len(found.verdicts)
    (whole,) = [v for v in document["verdicts"] if v["scope"] == "comparison" and v["measure"] == "accuracy"]
    assert (whole["where"], whole["better"], whole["judgement"]) == ("all cells", "higher", "regressed")
    assert "NaN" not in found.render("json")
    wrong = document | {"passed": "yes"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema())


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from finefuse.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["schema", "--verdict"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_junit_counts_what_it_holds(found: Comparison) -> None:
    root = ElementTree.fromstring(found.render("junit"))
    (suite,) = root
    cases = suite.findall("testcase")
    assert len(cases) == int(suite.attrib["tests"]) == len(found.verdicts) + len(found.doubts)
    for tag, total in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        assert len(suite.findall(f".//{tag}")) == int(suite.attrib[total]) > 0
    by_type = {child.attrib.get("type"): child.tag for case in cases for child in case}
    assert by_type["regressed"] == "failure"
    assert by_type["missing"] == by_type["failed"] == by_type["not-comparable"] == "error"
    assert by_type["inconclusive"] == by_type["skipped"] == "skipped"
    (worse,) = [case for case in cases if case.attrib["name"] == "digits/cnn-s/worse flops"]
    said = "regressed: flops 1.2e+06 to 3.6e+06 (+2.4e+06): 3 times as much; the limit is 0%"
    assert worse[0].attrib["message"] == said


def test_junit_is_read_by_junitparser(found: Comparison, tmp_path: Path) -> None:
    junitparser = pytest.importorskip("junitparser", reason="junitparser is not installed")
    (file,) = found.write("junit", tmp_path / "deep" / "report.xml")
    suites = junitparser.JUnitXml.fromfile(str(file))
    assert (suites.tests, suites.failures) == (len(found.verdicts) + len(found.doubts), found_failures(found))


def found_failures(found: Comparison) -> int:
    return sum(verdict.judgement == "regressed" for verdict in found.verdicts)


COMMAND = re.compile(r"::(error|warning|notice) title=([^:,\r\n]+)::([^\r\n]+)")


def test_github_gets_escaped_commands(found: Comparison) -> None:
    told = [COMMAND.fullmatch(line) for line in found.render("github").splitlines()]
    assert all(told)
    errors = [match for match in told if match and match[1] == "error"]
    assert any("100%25, really" in match[3] for match in errors)
    assert not any(re.search("%(?!25|2C|3A)", match[0]) for match in told if match)


def test_github_gets_ten_of_a_kind_at_most(pair: Pair) -> None:
    base = [pair.row(label=f"line {i}") for i in range(40)]
    found = pair.compare(base, base[:3])
    lines = found.render("github").splitlines()
    errors = [line for line in lines if line.startswith("::error")]
    assert len(errors) == PER_KIND
    assert errors[-1] == "::error title=finefuse compare::28 more are in the report"
    same = pair.compare(base, base).render("github")
    assert same == "::notice title=finefuse compare::40 unchanged\n"


def test_markdown_is_cut_where_github_would_refuse_it(pair: Pair) -> None:
    long = cut("ä line\n" * 400_000)
    assert len(long.encode()) <= 2**20
    assert long.endswith("ä line\n\nThe rest is cut off: a summary may have no more than 1 MiB.")
    rows = [pair.row(label=f"{i} {'long ' * 20_000}") for i in range(30)]
    assert len(pair.compare(rows, rows[:1]).to_markdown().encode()) <= 2**20


def test_text_has_no_markup_and_no_line_of_two(found: Comparison) -> None:
    lines = found.render().splitlines()
    assert lines[0] == f"FAILED: {found.new} against {found.base}"
    assert not any("|" in line or "\x1b" in line for line in lines)


def test_bencher_gets_numbers_by_benchmark_and_measure(found: Comparison) -> None:
    told = json.loads(found.render("bencher"))
    line = told["digits/cnn-s/worse"]
    assert line["flops"] == {"value": 3_600_000.0}
    assert line["accuracy"]["value"] == pytest.approx(0.842)
    assert told["digits/cnn-s/same"]["latency-1-p50"]["value"] == pytest.approx(1e6)  # nanoseconds
    assert all(isinstance(one["value"], float | int) for measures in told.values() for one in measures.values())


def test_gh_benchmark_gets_a_file_for_each_direction(found: Comparison, tmp_path: Path) -> None:
    files = found.write("gh-benchmark", tmp_path / "bench.json")
    assert [file.name for file in files] == ["bench-smaller.json", "bench-bigger.json"]
    smaller, bigger = (json.loads(file.read_text()) for file in files)
    for entry in (*smaller, *bigger):
        assert set(entry) <= {"name", "value", "unit", "range", "extra"}
        assert isinstance(entry["name"], str)
        assert isinstance(entry["value"], float | int)
        assert isinstance(entry["unit"], str)
    names = {entry["name"] for entry in bigger}
    assert "digits/cnn-s/worse accuracy" in names
    assert "digits/cnn-s/worse flops" in {entry["name"] for entry in smaller}
    assert not names & {entry["name"] for entry in smaller}
    with pytest.raises(FinefuseError, match="is two files, so it needs a name: gh-benchmark=FILE"):
        found.render("gh-benchmark")


def test_what_was_not_compared_has_a_score_with_a_name_and_a_direction(pair: Pair, tmp_path: Path) -> None:
    losses = {"metrics": ["nll"]}
    rows = [pair.row(**losses), pair.row(seed=1, **losses)]
    found = pair.compare(rows[:1], rows, allow=["plan"])
    cell = "tune/digits/cnn-s/full//s1/m0/r0"
    assert json.loads(found.render("bencher"))[cell] == {"score": {"value": 0.9}}
    _, bigger = (json.loads(file.read_text()) for file in found.write("gh-benchmark", tmp_path / "bench.json"))
    assert f"{cell} score" in {entry["name"] for entry in bigger}


def test_pytest_benchmark_compares_it(found: Comparison, tmp_path: Path) -> None:
    (file,) = found.write("pytest-benchmark", tmp_path / "0001_finefuse.json")
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", f"--storage={tmp_path}", "compare", str(file), "--columns=mean"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "digits/cnn-s/same latency.1.p50" in done.stdout
    (one,) = [b for b in json.loads(file.read_text())["benchmarks"] if b["name"] == "digits/cnn-s/worse train_s"]
    assert one["stats"]["mean"] == pytest.approx(1.5)
    assert one["extra_info"]["flops"] == 3_600_000


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_what_has_no_number(pair: Pair, tmp_path: Path, name: str) -> None:
    rows = [pair.row(BASE), pair.row(seed=1, **{"test.nll": float("inf")})]
    found = pair.compare(rows, [rows[1]], allow=["missing"])
    for file in found.write(name, tmp_path / "out.txt"):
        assert file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], [("markdown", None)]),
        (["json"], [("json", None)]),
        (["json=a=b.json", "junit=r.xml"], [("markdown", None), ("json", Path("a=b.json")), ("junit", Path("r.xml"))]),
        (["text", "json=v.json"], [("text", None), ("json", Path("v.json"))]),
    ],
)
def test_what_is_printed_and_what_is_written(texts: list[str], expected: Any) -> None:
    assert read_formats(texts) == expected


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["jsn"], "there is no format 'jsn'; did you mean 'json'?"),
        (["json", "text"], "json and text can't both be printed"),
        (["gh-benchmark"], "is two files, so it needs a name"),
        (["json="], "'json=' names no file"),
        (["json=."], "'json=.' names no file"),
        (["json=a", "junit=b", "text=a"], "two formats can't both be written to a"),
    ],
)
def test_formats_that_make_no_sense(texts: list[str], said: str) -> None:
    with pytest.raises(FinefuseError, match=re.escape(said)):
        read_formats(texts)


def test_a_file_that_can_not_be_written_is_a_sentence(found: Comparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FinefuseError, match="can't be written"):
        found.write("json", tmp_path / "file" / "v.json")
