"""Splits that people bring themselves: places for each part, columns that name them, published splits and folds."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse import Data, FinefuseError, Ref, Splits
from finefuse.declare.facts import Facts
from finefuse.declare.plan import make_plan
from finefuse.declare.suite import load_suite
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.engine.work.loading import split_seed, splits_of
from finefuse.errors import ParameterError
from finefuse_zoo.datasets.csv_table import CsvTable
from finefuse_zoo.datasets.folder import Folder
from finefuse_zoo.datasets.manifest import Manifest

ZOO = ("finefuse_zoo.hooks",)
REGISTRY = Registry(ZOO, entry_points=False)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))


def refusal(call: Any) -> str:
    with pytest.raises(FinefuseError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def contents(data: Data) -> set[bytes]:
    return {x.numpy().tobytes() for x in data.x}


def table(file: Path, rows: list[str], header: str = "path,label,split") -> Path:
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


@pytest.fixture
def pets(tmp_path: Path, fixture_module: Any) -> Path:
    """Two classes of 10 pictures each, and a table that gives 6, 2 and 2 of each to the parts."""
    images: ModuleType = fixture_module("images")
    images.tree(tmp_path / "img", ["cat", "dog"], 10)
    parts = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    rows = [f"img/{pet}/{i:03}.png,{pet},{part}" for pet in ("dog", "cat") for i, part in enumerate(parts)]
    return table(tmp_path / "pets.csv", rows)


# --------------------------------------------------------------------------------------------------------- manifests


def pictures(pets: Path, first: int, last: int) -> set[bytes]:
    """The pixels of some pictures of both classes, read by a folder of nothing else."""
    folder = pets.parent / f"only-{first}-{last}"
    for pet in ("cat", "dog"):
        (folder / pet).mkdir(parents=True)
        for i in range(first, last):
            (folder / pet / f"{i}.png").symlink_to(pets.parent / "img" / pet / f"{i:03}.png")
    found = Folder(folder, folder / ".." / folder.name, size=8, val=1).splits(0)
    return contents(found.test)


def test_a_manifest_gives_each_part_its_own_pictures_whatever_the_seed(pets: Path) -> None:
    splits = Manifest(pets, size=8).splits(7)
    assert contents(splits.train) == pictures(pets, 0, 6)
    assert contents(splits.val) == pictures(pets, 6, 8)
    assert contents(splits.test) == pictures(pets, 8, 10)
    assert [sorted(part.y.tolist()) for part in (splits.val, splits.test)] == [[0, 0, 1, 1]] * 2
    assert Manifest(pets, size=8).describe(0).outputs == {"classes": ["cat", "dog"]}


def test_shots_are_of_the_training_rows_and_leave_the_rest_alone(pets: Path) -> None:
    whole, few = Manifest(pets, size=8).splits(0), Manifest(pets, size=8, shots=2).splits(0)
    assert len(few.train) == 4
    assert contents(few.train) < contents(whole.train)
    assert contents(few.test) == contents(whole.test)


def test_parts_without_rows_are_cut_from_training_and_other_words_are_known(pets: Path) -> None:
    text = pets.read_text().replace(",val", ",Training").replace(",test", ",TESTING ")
    pets.write_text(text)
    splits = Manifest(pets, size=8, val=3).splits(0)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [10, 6, 4]


def test_rows_without_a_split_are_left_out_and_told(pets: Path) -> None:
    pets.write_text(pets.read_text().replace(",val", ","))
    manifest = Manifest(pets, size=8, val=1)
    splits = manifest.splits(0)
    assert sum(map(len, (splits.train, splits.val, splits.test))) == 16
    assert manifest.remarks() == ["4 of 20 rows have nothing in 'split' and are left out"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("img/cat/099.png,cat,train", "line 22: there is no file 'img/cat/099.png' in "),
        (",cat,train", "line 22: there is no file '' in "),
        (f"{'x' * 300},cat,train", "line 22: there is no file 'xxx"),
        ("img/cat/../cat/000.png,cat,test", "line 22: 'img/cat/../cat/000.png' is in line 12 already"),
        ("img/x.png,,train", "line 22: the label 'label' is empty"),
        ("img/x.png,cat", "line 22: 2 fields where 3 are expected"),
        ("img/x.png,cat,trian", "line 22: 'split' is 'trian', and train, val or test is expected"),
    ],
)
def test_what_is_wrong_in_a_manifest_is_said_by_file_and_line(pets: Path, line: str, sentence: str) -> None:
    (pets.parent / "img" / "x.png").write_bytes((pets.parent / "img" / "cat" / "000.png").read_bytes())
    pets.write_text(f"{pets.read_text()}{line}\n")
    assert f"{pets}, {sentence}" in refusal(lambda: Manifest(pets, size=8).splits(0))


def test_a_column_that_is_not_there_and_a_table_without_training_rows(pets: Path) -> None:
    assert "no column 'spilt'; did you mean 'split'?" in refusal(lambda: Manifest(pets, split="spilt").splits(0))
    pets.write_text(pets.read_text().replace(",train", ",test"))
    assert refusal(lambda: Manifest(pets).splits(0)) == f"{pets}: no row has 'train' in 'split'"


def test_a_label_without_training_rows_is_refused_by_file_and_label(pets: Path) -> None:
    pets.write_text(pets.read_text().replace(",cat,train", ",cat,test"))
    said = f"{pets}: class 'cat' has 0 images that can be read for training, and 1 for training were asked for"
    assert refusal(lambda: Manifest(pets, size=8).splits(0)) == said


def test_a_manifest_takes_split_or_fold() -> None:
    with pytest.raises(ParameterError, match="only one of split and fold can be given"):
        REGISTRY.build("dataset", Ref.of("manifest", file="m.csv", split=["a", "b"], fold="c"))


def test_the_fingerprint_is_of_the_table_and_of_the_pictures(pets: Path) -> None:
    seen = [Manifest(pets).fingerprint()]
    (pets.parent / "img/cat/000.png").write_bytes((pets.parent / "img/dog/000.png").read_bytes())
    seen.append(Manifest(pets).fingerprint())
    pets.write_text(pets.read_text().replace("img/cat/009.png,cat,test", "img/cat/009.png,cat,train"))
    assert len({*seen, Manifest(pets).fingerprint()}) == 3


def test_paths_may_be_absolute_or_start_elsewhere(pets: Path, tmp_path: Path) -> None:
    whole = Manifest(pets, size=8).splits(0)
    (tmp_path / "lists").mkdir()
    moved = tmp_path / "lists" / "pets.csv"
    moved.write_text(pets.read_text())
    assert contents(Manifest(moved, root=tmp_path, size=8).splits(0).train) == contents(whole.train)
    moved.write_text(pets.read_text().replace("img/", f"{tmp_path}/img/"))
    assert contents(Manifest(moved, size=8).splits(0).train) == contents(whole.train)


# --------------------------------------------------------------------------------------- published splits and folds


@pytest.fixture
def folded(tmp_path: Path) -> Path:
    """24 rows that `x` numbers from 0.5, in folds 0, 2 and 10 of 8 rows each."""
    rows = [f"{i}.5,{'ab'[i % 2]},{(10, 0, 2)[i // 8]}" for i in range(24)]
    return table(tmp_path / "folded.csv", rows, "x,label,fold")


def rows_in(file: Path, seed: int) -> list[list[int]]:
    """Which rows are in each part, from their inputs, whose scaling is undone."""
    data = CsvTable(file, "label", fold="fold")
    scale = data.describe(seed).inputs
    factor, mean = scale["factor"][0], scale["mean"][0]
    return [sorted(int(x) for x in (part.x[:, 0].double() / factor + mean)) for part in _parts(data.splits(seed))]


def _parts(splits: Splits) -> list[Data]:
    return [splits.train, splits.val, splits.test]


def test_each_seed_is_tested_on_a_fold_of_its_own_in_the_order_of_numbers(folded: Path) -> None:
    data = CsvTable(folded, "label", fold="fold")
    assert (data.number_of_folds, capabilities.folds(data)) == (3, 3)
    assert data.task.input_shape == (1,), "the fold is no feature"
    found = [rows_in(folded, seed) for seed in range(4)]
    assert [test for _, _, test in found[:3]] == [[*range(8, 16)], [*range(16, 24)], [*range(8)]]
    assert all(sorted([*train, *val, *test]) == [*range(24)] and len(val) == 2 for train, val, test in found)
    assert found[3][2] == found[0][2]


def test_the_core_hands_such_data_sets_the_number_of_the_split(folded: Path, tmp_path: Path) -> None:
    ref = Ref.of("csv", train=str(folded), target="label", fold="fold")
    plugin = REGISTRY.build("dataset", ref)
    assert [split_seed(ref, seed, plugin) for seed in range(5)] == [0, 1, 2, 0, 1]
    drawn = Ref.of("csv", train=str(folded), target="label")
    assert split_seed(drawn, 1, REGISTRY.build("dataset", drawn)) > 1000
    one, again = (splits_of(ZOO, ref, seed, "cpu", str(tmp_path / "store")) for seed in (1, 4))
    assert contents(one.test) == contents(again.test) == contents(CsvTable(folded, "label", fold="fold").splits(1).test)


def test_several_columns_are_several_splits(pets: Path) -> None:
    lines = pets.read_text().splitlines()
    other = {"train": "test", "val": "val", "test": "train"}
    rows = [f"{line},{other[line.rsplit(',', 1)[1]]}" for line in lines[1:]]
    table(pets, rows, "path,label,first,second")
    manifest = Manifest(pets, split=("first", "second"), size=8)
    assert manifest.number_of_folds == 2
    first, second = manifest.splits(0), manifest.splits(1)
    assert contents(first.train) == contents(second.test)
    assert contents(first.test) == contents(second.train)
    assert Manifest(pets, split="first").number_of_folds == 0


def test_one_fold_is_refused(folded: Path) -> None:
    folded.write_text(folded.read_text().replace(",10\n", ",0\n").replace(",2\n", ",0\n"))
    assert "'fold' has 1 fold, and two are needed" in refusal(lambda: CsvTable(folded, "label", fold="fold").splits(0))


@pytest.mark.parametrize("answer", [-1, True])
def test_a_plugin_s_number_of_folds_is_checked(answer: Any) -> None:
    class Odd:
        number_of_folds = answer

    assert "for its `number_of_folds`, which should be 0 or more" in refusal(lambda: capabilities.folds(Odd()))


# ------------------------------------------------------------------------------------------------ a place for each part


def test_val_may_be_a_folder(pets: Path) -> None:
    root = pets.parent / "img"
    held = pets.parent / "held"
    for pet in ("cat", "dog"):
        (held / pet).mkdir(parents=True)
        (root / pet / "000.png").rename(held / pet / "000.png")
    splits = Folder(root, val=held, size=8, test_share=0.2).splits(0)
    assert [len(part) for part in _parts(splits)] == [14, 2, 4]
    assert not contents(splits.val) & (contents(splits.train) | contents(splits.test))
    before = Folder(root, val=held).fingerprint()
    (held / "cat" / "000.png").unlink()
    assert Folder(root, val=held).fingerprint() != before
    assert any("there is no image of cat" in said for said in Folder(root, val=held).remarks())


def test_val_may_be_a_file_and_is_scaled_by_the_training_rows(tmp_path: Path) -> None:
    train = table(tmp_path / "train.csv", [f"{i}.5,{'ab'[i % 2]}" for i in range(20)], "x,label")
    val = table(tmp_path / "dev.csv", ["100.5,b", "200.5,a"], "x,label")
    splits = CsvTable(train, "label", val=val).splits(0)
    assert [len(part) for part in _parts(splits)] == [16, 2, 4]
    assert splits.val.y.tolist() == [1, 0]
    mean, spread = (splits.train.x.mean(), splits.train.x.std(correction=0))
    assert (float(mean), float(spread)) == pytest.approx((0, 1), abs=1e-5)
    assert float(splits.val.x.min()) > 10


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"val": "t.csv"}, "`train` and `val` are the same"),
        ({"val": "v.csv", "test": "v.csv"}, "`val` and `test` are the same"),
        ({"split": "part", "test": "u.csv"}, "`split` and `fold` are columns of one file"),
        ({"split": "part", "fold": "part"}, "only one of split and fold can be given"),
        ({"split": "label"}, "'label' names the splits, and can't be anything else"),
        ({"split": []}, "split"),
        ({"val": 1.5}, "val must be less than 1"),
    ],
)
def test_what_can_not_go_together_is_refused(params: dict[str, Any], sentence: str) -> None:
    given = Ref.of("csv", train="t.csv", target="label", **params)
    with pytest.raises(ParameterError, match=sentence):
        REGISTRY.build("dataset", given)


def test_paths_start_from_the_suite_and_a_nested_share_stays_in_the_key(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", [f"{i}.5,{'ab'[i % 2]}" for i in range(20)], "x,label")
    table(tmp_path / "dev.csv", ["100.5,b", "200.5,a"], "x,label")

    def keys(val: Any) -> set[str]:
        source = {"use": "csv", "train": str(tmp_path / "train.csv"), "target": "label", "val": val}
        shape: dict[str, Any] = {"name": "s", "schemes": ["full"], "datasets": [source]}
        suite = load_suite({**shape, "backbones": [{"use": "mlp-table", "pretrained_on": source}]}, REGISTRY)
        return {job.key for job in make_plan(suite, REGISTRY).jobs if job.kind == "pretrain"}

    assert keys(0.1) != keys(0.2)
    given = {"use": "csv", "train": "train.csv", "val": "dev.csv", "target": "label"}
    file = tmp_path / "suite.toml"
    told = ", ".join(f'{key} = "{value}"' for key, value in given.items())
    file.write_text(f'name = "s"\ndatasets = [{{ {told} }}]\nbackbones = ["mlp-table"]\nschemes = ["full"]\n')
    (ref,) = load_suite(file, REGISTRY).datasets
    assert ref.kwargs["val"] == str(tmp_path / "dev.csv")
    assert Facts(REGISTRY).task(ref).outputs == 2
