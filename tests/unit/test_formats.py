"""Formats of others, each read back by its consumer where that is installed; and CSV that no spreadsheet executes."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from base64 import b64encode
from io import StringIO
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from finefuse import api
from finefuse.errors import FinefuseError
from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.records import read_results
from finefuse_zoo.reporters._cells import comma_separated, harmless
from finefuse_zoo.reporters.croissant import Croissant
from finefuse_zoo.reporters.model_index import ModelIndex
from finefuse_zoo.reporters.tabarena import TabArena
from finefuse_zoo.reporters.tables import Csv
from helpers.boards import runs

QUICK = Path(__file__).parents[2] / "baselines" / "quick"
HOSTILE = ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\tx", "\rx", '=HYPERLINK("x")', "＝1"]


@pytest.fixture(scope="module")
def quick() -> Leaderboard:
    return api.board(QUICK)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_a_spreadsheet_would_execute_is_escaped(text: str) -> None:
    safe = f"'{text}".replace("\r", "\\r")
    assert harmless(text) == safe
    (cells,) = list(csv.reader(StringIO(comma_separated(pd.DataFrame({"a": [text]})), newline="")))[1:]
    assert cells == [safe]


@pytest.mark.parametrize("value", [-1.5, 1, True, math.nan, "full(lr=1)", "a-b", "", "-0.5", "+1e3", "-inf"])
def test_numbers_and_other_texts_are_left_alone(value: object) -> None:
    assert harmless(value) is value


def test_every_csv_is_safe_in_all_its_columns(build: ModuleType, tmp_path: Path) -> None:
    rows = [build.row(label=text, backbone=text, dataset=text) for text in HOSTILE]
    rows += runs(build, "=soup", [0.5, 0.6], "fuse", pool="@pool", needs=["+val"], level="-weight")
    board = make_leaderboard("demo", rows)
    for path in (*Csv().write(board, tmp_path), *TabArena().write(board, tmp_path)):
        with path.open(newline="", encoding="utf-8") as file:
            cells = [cell for line in csv.reader(file) for cell in line]
        assert any(cell.startswith("'") for cell in cells)
        for cell in cells:
            assert not cell.startswith(tuple("=+-@\t\r")) or math.isfinite(float(cell))


def test_numbers_of_csv_keep_their_digits(quick: Leaderboard, tmp_path: Path) -> None:
    scores = Csv().write(quick, tmp_path)[0]
    read = pd.read_csv(scores)
    assert list(read["gain"].dropna()) == list(quick.lines["gain"].dropna())
    assert (read["gain"] < 0).any()


def test_the_frame_of_tabarena_is_read_by_pandas(quick: Leaderboard, tmp_path: Path) -> None:
    (path,) = TabArena().write(quick, tmp_path)
    frame = pd.read_csv(path)
    assert list(frame) == ["method", "task", "seed", "metric_error", "time_train_s", "time_infer_s"]
    assert len(frame) == quick.lines["ok"].sum()
    means = frame.groupby("method")["metric_error"].mean()
    line = quick.lines[(quick.lines["strategy"] == "soup") & (quick.lines["pool"] == "schemes")].iloc[0]
    name = f"soup of schemes on {line['backbone']}"
    assert means[name] == pytest.approx(1 - line["test.accuracy.mean"])
    assert frame[frame["method"] == name]["time_train_s"].mean() == pytest.approx(line["seconds_with_members"])
    assert frame[frame["method"] == name]["time_infer_s"].iloc[0] == pytest.approx(line["latency.64.p50"] / 64 * 1497)


def test_bencheval_reads_the_frame(quick: Leaderboard, tmp_path: Path) -> None:
    bencheval = pytest.importorskip("bencheval.evaluator", reason="bencheval is not installed")
    evaluator = bencheval.BenchmarkEvaluator(seed_column="seed")
    board = evaluator.leaderboard(pd.read_csv(TabArena().write(quick, tmp_path)[0]))
    assert len(board) == len(quick.lines)


def test_a_lower_metric_is_its_own_error_and_gaps_are_left_out(build: ModuleType, tmp_path: Path) -> None:
    fields = {"metrics": ["rmse"], "better.rmse": "lower"}
    rows = [build.row(label=str(n), **fields, **{"test.rmse": score}) for n, score in enumerate([2.5, math.nan])]
    frame = pd.read_csv(TabArena().write(make_leaderboard("demo", rows), tmp_path)[0])
    assert list(frame["metric_error"]) == [2.5]
    assert "time_infer_s" not in frame
    empty = pd.read_csv(TabArena().write(make_leaderboard("demo", []), tmp_path)[0])
    assert empty.empty


def test_seconds_of_several_machines_or_of_given_networks_are_left_out_of_tabarena(
    build: ModuleType, tmp_path: Path
) -> None:
    one, two = build.row(label="a"), build.row(label="b")
    columns = {"method", "task", "seed", "metric_error", "time_train_s"}
    for rows, left in (
        ([one, two], columns),
        ([one, two | {"machine": "m2"}], columns - {"time_train_s"}),
        ([one, two | {"given": {"b": {"licence": "MIT"}}}], columns - {"time_train_s"}),
    ):
        frame = pd.read_csv(TabArena().write(make_leaderboard("demo", rows), tmp_path)[0])
        assert set(frame) == left


def test_a_model_index_says_what_each_data_set_is(build: ModuleType, tmp_path: Path) -> None:
    a, b = (build.row(dataset=name, n_test=8) for name in "ab")
    rows = [a | {"correct": "/w=="}, b | {"correct": None, "losses": b64encode(bytes(32)).decode()}]
    text = ModelIndex().write(make_leaderboard("demo", rows), tmp_path)[0].read_text(encoding="utf-8")
    results = json.loads(text.split("---\n")[1])["model-index"][0]["results"]
    assert [one["task"]["type"] for one in results] == ["classification", "regression"]


def test_hugging_face_reads_the_model_index(quick: Leaderboard, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    (path,) = ModelIndex(line="soup of schemes on vit-t", task="image-classification").write(quick, tmp_path)
    card = hub.ModelCard.load(path)
    assert card.data.model_name == "soup of schemes on vit-t"
    line = quick.lines.query("strategy == 'soup' and pool == 'schemes' and backbone == 'vit-t'").iloc[0]
    found = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert found == {metric: line[f"test.{metric}.mean"] for metric in ("accuracy", "nll", "ece")}
    first = card.data.eval_results[0]
    assert (first.task_type, first.dataset_name, first.dataset_split) == (
        "image-classification",
        "digits(shots=10)",
        "test",
    )
    card.data.to_yaml()


def test_a_model_index_is_of_the_first_line_or_one_that_exists(quick: Leaderboard, tmp_path: Path) -> None:
    def head(**how: str) -> dict[str, object]:
        text = ModelIndex(**how).write(quick, tmp_path)[0].read_text(encoding="utf-8")
        return dict(json.loads(text.split("---\n")[1])["model-index"][0])

    first = quick.lines.iloc[0]
    assert head()["name"] == f"{first['strategy']} of {first['pool']} on {first['backbone']}"
    assert head()["results"][0]["task"] == {"type": "classification"}  # type: ignore[index]
    assert head(line="full")["name"] == "full on cnn-s"
    with pytest.raises(FinefuseError, match="no line with a score is called 'fulll'; there are "):
        head(line="fulll")
    (path,) = ModelIndex().write(make_leaderboard("demo", []), tmp_path)
    assert path.read_text(encoding="utf-8") == "---\n{}\n---\n# Nothing has a score\n"


def test_croissant_describes_the_tables_with_their_digests(quick: Leaderboard, tmp_path: Path) -> None:
    paths = Croissant(license="https://www.apache.org/licenses/LICENSE-2.0").write(quick, tmp_path)
    content = json.loads(paths[0].read_text(encoding="utf-8"))
    assert [path.name for path in paths] == ["croissant.json", "scores.csv", "costs.csv"]
    for told, path in zip(content["distribution"], paths[1:], strict=True):
        assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert told["contentUrl"] == path.name
    for told, table in zip(content["recordSet"], (quick.scores(), quick.costs()), strict=True):
        assert [field["source"]["extract"]["column"] for field in told["field"]] == list(table)
    assert content["datePublished"] == max(row["finished"] for row in read_results(QUICK).rows)[:10]


@pytest.mark.filterwarnings("default:ConjunctiveGraph is deprecated")
def test_mlcroissant_reads_the_records(quick: Leaderboard, tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    how = {"license": "https://www.apache.org/licenses/LICENSE-2.0", "url": "https://example.org", "creator": "us"}
    path = Croissant(**how).write(quick, tmp_path)[0]
    found = list(mlcroissant.Dataset(jsonld=path).records("scores"))
    assert len(found) == len(quick.lines)
    assert [row["scores/strategy"].decode() for row in found] == list(quick.lines["strategy"])
    assert [row["scores/test.accuracy.mean"] for row in found] == list(quick.lines["test.accuracy.mean"])
