"""`finefuse export`: which row is meant, what is refused and why, what is written, and what its card says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import finefuse
from finefuse import FinefuseError, api
from finefuse.cli import main
from finefuse.deploy import export as exporting
from finefuse.deploy import wanted
from finefuse.deploy.export import bench_of
from finefuse.deploy.wanted import card_of, check_target, find_row
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.work.deployed import deployed
from finefuse.nets import Net
from finefuse.types import Cell, Record
from finefuse_zoo.fusions.soup import Soup
from helpers.rows_on_disk import AWKWARD

TINY = str(Path(__file__).parents[1] / "fixtures" / "plugins" / "tiny.py")
SUITE: dict[str, Any] = {
    "name": "small",
    "seeds": [0, 1],
    "budget": {"epochs": 2, "batch_size": 16},
    "datasets": ["points"],
    "backbones": ["tiny"],
    "metrics": ["accuracy", "nll"],
    "schemes": ["full"],
    "fusions": ["weighted", "stacking", "soup"],
    "pools": {"pair": {"of": ["full"], "copies": 2}},
    "latency": [],
}


# ------------------------------------------------------------------------------------------------- which row


@pytest.fixture
def folder(tmp_path: Path, build: Any) -> Path:
    """Two seeds of a scheme with copies and of a fusion of two pools, and rows that hold nothing to export."""
    rows = [build.row(seed=seed, member=member, dataset="digits(shots=3)") for seed in (3, 1) for member in (0, 1)]
    rows += [build.row("fuse", "soup", pool=pool, seed=seed) for pool in ("copies", "schemes") for seed in (3, 1)]
    rows += [build.row("fuse", "vote", pool="copies", status="skipped", reason="votes are for classes")]
    rows += [build.row("time", "soup", pool="copies")]
    out: Path = build.write(tmp_path / "results", rows)
    return out


def find(folder: Path, row: str, **narrow: str | int | None) -> tuple[str, str]:
    found, note = find_row(folder, row, narrow)
    return found["cell"], note


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(FinefuseError) as refused:
        call()
    return str(refused.value)


def test_a_label_is_that_of_the_first_seed_and_its_first_copy(folder: Path) -> None:
    cell, note = find(folder, "full")
    assert cell == "tune/digits(shots=3)/cnn-s/full//s3/m0/r0"
    assert note == f"{cell}: seed 3, the first of 2; --seed takes another."
    assert find(folder, "full", seed=1) == ("tune/digits(shots=3)/cnn-s/full//s1/m0/r0", "")


def test_a_cell_is_just_that(folder: Path) -> None:
    cell = "tune/digits(shots=3)/cnn-s/full//s1/m1/r0"
    assert find(folder, cell) == (cell, "")


def test_several_pools_are_told_apart_by_the_option(folder: Path) -> None:
    assert refusal(lambda: find(folder, "soup")) == (
        "2 rows have the label 'soup', narrow it by --pool: 'fuse/digits/cnn-s/soup/copies/s3/m0/r0', "
        "'fuse/digits/cnn-s/soup/schemes/s3/m0/r0'."
    )
    assert find(folder, "soup", pool="schemes", seed=1)[0] == "fuse/digits/cnn-s/soup/schemes/s1/m0/r0"


@pytest.mark.parametrize("name", AWKWARD)
def test_a_data_set_is_found_by_its_plugin_s_name(tmp_path: Path, build: Any, name: str) -> None:
    build.write(tmp_path, [build.row(), build.row(dataset=name, dataset_use="files")])
    assert find_row(tmp_path, "full", {"dataset": "files"})[0]["dataset"] == name
    assert find_row(tmp_path, "full", {"dataset": name})[0]["dataset"] == name


def test_cells_that_share_a_text_are_told_apart_by_the_option(tmp_path: Path, build: Any) -> None:
    one, two = build.row(dataset="a/b", backbone="c"), build.row(dataset="a", backbone="b/c")
    build.write(tmp_path, [one, two])
    sentence = refusal(lambda: find(tmp_path, one["cell"]))
    assert sentence.startswith(f"2 rows have the label '{one['cell']}', narrow it by --dataset or --backbone: ")
    assert find_row(tmp_path, one["cell"], {"dataset": "a"})[0] == two


def test_copies_and_later_rounds_are_named_by_their_cell(tmp_path: Path, build: Any) -> None:
    again = build.row(label="full after soup", pool="p", round=1)
    build.write(tmp_path, [build.row(), build.row(label="copied", member=1), again])
    for label in ("full after soup", "copied"):
        assert "there are 'full'" in refusal(lambda label=label: find(tmp_path, label))
    assert find(tmp_path, again["cell"])[0] == again["cell"]


def test_parameters_of_a_data_set_may_be_left_out(folder: Path) -> None:
    for name in ("digits", "digits(shots=3)"):
        assert find(folder, "full", dataset=name, backbone="cnn-s")[0].startswith("tune/digits(shots=3)/")


@pytest.mark.parametrize(
    ("row", "narrow", "sentence"),
    [
        ("suop", {}, "no row has the label or cell 'suop'; did you mean 'soup'?"),
        ("x", {}, "no row has the label or cell 'x'; there are 'full', 'soup', 'vote'"),
        ("soup", {"pool": "copy"}, "no row of 'soup' has the pool 'copy'; did you mean 'copies'?"),
        ("full", {"pool": "copies"}, "no row of 'full' has the pool 'copies'; it has none"),
        ("soup", {"seed": 2}, "no row of 'soup' has the seed 2; there are '3', '1'"),
        ("vote", {}, "fuse/digits/cnn-s/vote/copies/s0/m0/r0 is skipped: votes are for classes"),
        (
            "time/digits/cnn-s/soup/copies/s0/m0/r0",
            {},
            "time/digits/cnn-s/soup/copies/s0/m0/r0 is of kind 'time'; only 'tune' and 'fuse' rows can be exported.",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(folder: Path, row: str, narrow: dict[str, Any], sentence: str) -> None:
    assert refusal(lambda: find(folder, row, **narrow)).removeprefix(f"{folder}: ") == sentence


def test_a_row_that_is_still_to_come_is_told_so(tmp_path: Path, build: Any) -> None:
    folder = build.write(tmp_path, [build.row()], planned=[Cell.of(build.row(label="later"))])
    later = "tune/digits/cnn-s/later//s0/m0/r0"
    assert refusal(lambda: find(folder, later)).startswith(f"{later} is planned and has no row yet")


# ------------------------------------------------------------------------------------------------- which file


def test_an_unknown_ending_names_the_three(tmp_path: Path) -> None:
    said = refusal(lambda: check_target(tmp_path / "model.pth", force=False))
    assert said == f"{tmp_path / 'model.pth'}: unknown ending '.pth'; expected .pt2, .onnx or .safetensors."


def test_onnx_without_its_packages_says_how_to_install_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wanted, "find_spec", lambda name: None)
    said = refusal(lambda: check_target(tmp_path / "model.onnx", force=False))
    assert said.endswith('needs onnx and onnxscript: pip install "finefuse[onnx]"')
    check_target(tmp_path / "model.pt2", force=False)


@pytest.mark.parametrize("taken", ["model.pt2", "model.pt2.md"])
def test_a_file_that_exists_is_kept_without_force(taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).touch()
    said = refusal(lambda: check_target(tmp_path / "model.pt2", force=False))
    assert said == f"{tmp_path / taken}: exists already; --force writes over it."
    check_target(tmp_path / "model.pt2", force=True)


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").mkdir()
    assert "is a folder" in refusal(lambda: check_target(tmp_path / "model.pt2", force=True))


# ------------------------------------------------------------------------------------------------- no torch

WITHOUT_TORCH = """
import sys
from finefuse.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    assert not {"torch._C", "pandas", "sklearn"} & set(sys.modules)
    raise
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "with a model card"),
        (["results", "suop", "--to", "model.pt2"], 2, "did you mean 'soup'?"),
        (["results", "full", "--to", "model.txt"], 2, "unknown ending '.txt'"),
    ],
)
def test_help_and_refusals_need_no_torch(arguments: list[str], code: int, said: str, folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, "export", *arguments]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, cwd=folder.parent, env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert said in " ".join((done.stdout + done.stderr).split())


# ------------------------------------------------------------------------------------------------- what is written


@dataclass(frozen=True)
class Shop:
    """A suite that has been run, and its store."""

    run: api.Run
    store: Path

    def export(self, row: str, to: Path, **options: Any) -> api.Exported:
        return finefuse.export(self.run.folder, row, to, plugins=TINY, **{"store": self.store, **options})

    def row(self, label: str, member: int = 0) -> Record:
        return next(r for r in self.run.rows if (r["label"], r["member"], r["seed"]) == (label, member, 0))

    def outputs(self, label: str) -> Tensor:
        return Artifacts(self.store).outputs(self.row(label)["artifact"])["test"]

    def inputs(self, label: str) -> Tensor:
        return bench_of(self.row(label), self.store, "cpu", (TINY,)).splits.test.x


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    place = tmp_path_factory.mktemp("shop")
    options: dict[str, Any] = {"plugins": TINY, "device": "cpu", "workers": 0, "quiet": True}
    run = finefuse.run(SUITE, out=place / "out", store=place / "store", **options)
    assert run.ok
    return Shop(run, place / "store")


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node", "ignore:Node lifted_tensor")  # torch 2.6
def test_an_ensemble_gives_the_outputs_that_were_measured(shop: Shop, tmp_path: Path) -> None:
    made = shop.export("stacking", tmp_path / "new" / "model.pt2")
    assert sorted(path.name for path in made.file.parent.iterdir()) == ["model.pt2", "model.pt2.md"]
    assert (made.card, made.cell) == (card_of(made.file), shop.row("stacking")["cell"])
    assert "seed 0, the first of 2" in made.note
    outputs = torch.export.load(made.file).module()(shop.inputs("stacking"))
    torch.testing.assert_close(outputs, shop.outputs("stacking"), atol=1e-5, rtol=1e-5)


def test_the_card_says_what_it_is_and_how_to_load_it(shop: Shop, tmp_path: Path) -> None:
    row = shop.row("weighted")
    text = shop.export("weighted", tmp_path / "model.pt2", seed=0).card.read_text()
    for said in (
        "# model.pt2\n\nAn ensemble of outputs fused by `weighted`, measured by finefuse in the suite `small`.",
        f"**cell** `{row['cell']}`",
        f"**key** `{row['key']}`, **artifact** `{row['artifact']}`",
        "**data set** points, **backbone** tiny",
        "**members** full#0, full#1\n",
        f"**accuracy** {row['test.accuracy']:.4f} on test (90 examples), {row['val.accuracy']:.4f} on val",
        f"{row['seconds_members']:.2f} s for what it is made of; {row['parameters']:,} parameters",
        "**inputs** (N, 4), float32",
        "**outputs** (N, 3): logits, whose softmax gives the probabilities of classes 0 to 2",
        f"finefuse {finefuse.__version__}, torch {torch.__version__}",
        'model = torch.export.load("model.pt2").module()',
    ):
        assert said in text


def test_the_weights_of_one_network_are_those_in_the_store(shop: Shop, tmp_path: Path) -> None:
    for label in ("full", "soup"):
        made = shop.export(label, tmp_path / f"{label}.safetensors")
        kept, written = Artifacts(shop.store).weights(shop.row(label)["artifact"]), load_file(made.file)
        assert kept.keys() == written.keys()
        assert all(torch.equal(kept[name], written[name]) for name in kept)
        assert f'load_file("{label}.safetensors")' in made.card.read_text()


def test_an_ensemble_is_more_than_its_weights(shop: Shop, tmp_path: Path) -> None:
    said = refusal(lambda: shop.export("stacking", tmp_path / "model.safetensors"))
    assert said.endswith(": an ensemble is more than its weights; export it to a .pt2 file.")
    assert not list(tmp_path.iterdir())


def test_a_network_runs_elsewhere_as_onnx(shop: Shop, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="what ONNX files are written with")
    runtime = pytest.importorskip("onnxruntime", reason="what ONNX files are tried with")
    made = shop.export("stacking", tmp_path / "model.onnx")
    session = runtime.InferenceSession(made.file, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {"x": shop.inputs("stacking").numpy()})
    torch.testing.assert_close(torch.from_numpy(outputs), shop.outputs("stacking"), atol=1e-5, rtol=1e-5)
    assert "read back, for 1 and 3 at a time" in made.card.read_text()


def test_the_verb_names_the_files_and_the_seed_it_took(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "model.safetensors"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(shop.run.folder), "soup", "--to", str(to), "--plugin", TINY, "--store", str(shop.store)])
    out, err = capsys.readouterr()
    assert (ended.value.code, out.splitlines()) == (0, [str(to), f"{to}.md"])
    assert "seed 0, the first of 2; --seed takes another" in err


# ------------------------------------------------------------------------------------------------- what is not


def test_what_is_gone_from_the_store_has_to_be_made_again(shop: Shop, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(shop.store, store)
    for label, which, lost in (
        ("stacking", "an artifact that it is made of", shop.row("full", 1)),
        ("soup", "its artifact", shop.row("soup")),
    ):
        shutil.rmtree(store / lost["artifact"][:2] / lost["artifact"])
        said = refusal(lambda label=label: shop.export(label, tmp_path / "model.pt2", store=store))
        assert said.startswith(f"{shop.row(label)['cell']}: {which} is not in the store {store}; run the suite")
    assert not (tmp_path / "model.pt2").exists()


def test_what_a_former_version_kept_is_not_said_to_be_gone(shop: Shop, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(shop.store, store)
    for label, which, kept in (
        ("stacking", "an artifact that it is made of", shop.row("full", 1)),
        ("soup", "its artifact", shop.row("soup")),
    ):
        (store / kept["artifact"][:2] / kept["artifact"] / "digests.json").unlink()
        said = refusal(lambda label=label: shop.export(label, tmp_path / "model.pt2", store=store))
        assert said.startswith(
            f"{shop.row(label)['cell']}: {which} in the store {store} was kept by a former version, without digests"
        )
        assert said.endswith(f"run the suite {kept['suite']!r} again with a new --store and --out.")
    assert not (tmp_path / "model.pt2").exists()


def test_what_no_longer_gives_its_outputs_is_refused(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drifted(bench: Any) -> nn.Module:
        model = deployed(bench)
        with torch.no_grad():
            next(model.parameters()).add_(0.1)
        return model

    monkeypatch.setattr(exporting, "deployed", drifted)
    said = refusal(lambda: shop.export("soup", tmp_path / "model.pt2"))
    assert "made again it gives other test outputs than were measured, by up to 0." in said
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_leaves_nothing(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "card", full)
    to = tmp_path / "model.safetensors"
    assert refusal(lambda: shop.export("soup", to)) == f"{to}: can't be written: No space left on device."
    assert not list(tmp_path.iterdir())


def test_force_writes_over_what_was_there(shop: Shop, tmp_path: Path) -> None:
    to = tmp_path / "model.safetensors"
    to.write_text("old")
    assert "exists already" in refusal(lambda: shop.export("soup", to))
    assert to.read_text() == "old"
    assert load_file(shop.export("soup", to, force=True).file)


def test_fused_weights_are_read_and_not_fused_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Soup, "fuse", None)
    fused = bench_of(shop.row("soup"), shop.store, "cpu", (TINY,))
    job = replace(fused.order.job, kind="time", level="", artifact="", timed=fused.order.job.artifact)
    timed = type(fused)(replace(fused.order, job=job))
    for bench in (fused, timed):
        model = deployed(bench)
        assert isinstance(model, Net)
        with torch.no_grad():
            assert torch.equal(model(shop.inputs("soup")), shop.outputs("soup"))
