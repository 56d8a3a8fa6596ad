"""Encoders of Hugging Face with `csv`: tokenisers that pad and count otherwise, networks that can't be taken, and what
is said before anything is computed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import finefuse
from finefuse import FinefuseError, NotApplicable, Ref
from finefuse.declare.facts import Facts
from finefuse.discovery import capabilities
from finefuse.discovery.capabilities import DeclarationError
from finefuse.discovery.registry import Registry
from finefuse.engine.randomness import seeded
from finefuse.types import Vocabulary
from finefuse_zoo._hugging_face import vocabulary
from finefuse_zoo.backbones import _encoders
from finefuse_zoo.backbones.hf_text import KINDS, HfText, longest_of, padding_of
from finefuse_zoo.datasets._tokens import tokenised

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "fine", "dull", "##er", "."]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "film", "fine", "dull", "##er", "."]
SIZE = {"hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 40}
SIZE |= {"intermediate_size": 16, "max_position_embeddings": 20}
MORE: dict[str, dict[str, int]] = {
    "electra": {"embedding_size": 6},
    "mobilebert": {"embedding_size": 12, "intra_bottleneck_size": 12, "true_hidden_size": 12},
    "distilbert": {"dim": 12, "n_heads": 2, "n_layers": 2, "hidden_dim": 16},
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))


def network(folder: Path, kind: str = "bert", **changed: Any) -> Path:
    """A folder with a tiny network of this kind."""
    config = transformers.AutoConfig.for_model(kind, **{**SIZE, **MORE.get(kind, {}), **changed})
    with seeded(0):
        transformers.AutoModel.from_config(config).save_pretrained(folder)
    return folder


def tokeniser(folder: Path, words: list[str] = WORDS, **options: Any) -> Path:
    """The same folder with a tokeniser."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), WORDS, strict=False))
    if words is ROBERTA:
        names = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
        names["mask_token"] = "<mask>"
    transformers.BertTokenizerFast(str(folder / "vocab.txt"), **names, **options).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tokeniser(network(tmp_path_factory.mktemp("hf") / "bert"))


@pytest.fixture
def reviews(tmp_path: Path) -> tuple[Path, Path]:
    """A training and a test file."""
    rows = [f"{i % 2}\t{'fine film .' if i % 2 else 'duller film'}{' film' * (i % 3)}" for i in range(24)]
    for name, part in (("train.tsv", rows[:16]), ("test.tsv", rows[16:])):
        (tmp_path / name).write_text("y\tx\n" + "\n".join(part) + "\n")
    return tmp_path / "train.tsv", tmp_path / "test.tsv"


def csv(files: tuple[Path, Path], **params: Any) -> Ref:
    train, test = map(str, files)
    return Ref.of("csv", train=train, test=test, target="y", text="x", **{"max_tokens": 6, **params})


def hf(path: Path, **params: Any) -> Ref:
    return Ref.of("hf-text", path=str(path), **params)


def suite(dataset: Ref, backbone: Ref) -> dict[str, Any]:
    return {
        "name": "texts",
        "seeds": [0],
        "datasets": [{"use": dataset.name, **dataset.kwargs}],
        "backbones": [{"use": backbone.name, **backbone.kwargs}],
        "schemes": ["linear-probe"],
        "budget": {"epochs": 1},
        "checkpoints": 0,
    }


def unsuited(backbone: Ref, dataset: Ref) -> str:
    return Facts(REGISTRY).unsuited(backbone, dataset)


# --------------------------------------------------------------------------------------------------------- tokenisers


def test_a_tokeniser_and_a_test_file_go_through_a_suite_without_a_word(bert, reviews, tmp_path, capfd):
    shown = transformers.utils.logging.is_progress_bar_enabled()
    capfd.readouterr()
    run = finefuse.run(
        suite(csv(reviews, tokenizer=str(bert)), hf(bert)),
        out=tmp_path / "out",
        store=tmp_path / "store",
        executor="serial",
        quiet=True,
    )
    rows = [row for row in run.rows if row["kind"] == "tune"]
    assert [(row["status"], row["n_test"]) for row in rows] == [("ok", 8)], rows
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.is_progress_bar_enabled() == shown
    assert "TQDM_DISABLE" not in os.environ


@pytest.mark.parametrize("pool", ["mean", "first"])
def test_padding_is_behind_the_text_whatever_side_the_tokeniser_puts_it_on(pool, reviews, bert, tmp_path):
    left = tokeniser(network(tmp_path / "left"), padding_side="left")
    assert transformers.AutoTokenizer.from_pretrained(left).padding_side == "left"
    data = [REGISTRY.build("dataset", csv(reviews, tokenizer=str(folder))).splits(0).test.x for folder in (bert, left)]
    assert torch.equal(*data)
    net = HfText(path=bert, pool=pool).build(REGISTRY.build("dataset", csv(reviews)).task)
    with torch.no_grad():
        features = net.eval().features(data[0])
    assert features.abs().sum(1).min() > 0


def test_the_first_token_is_the_first_that_is_no_padding():
    x = torch.tensor([[[0.0, 0], [0, 0], [1, 2], [3, 4]], [[5, 6], [7, 8], [0, 0], [0, 0]]])
    assert _encoders.FirstOfTokens()(x).tolist() == [[1.0, 2.0], [5.0, 6.0]]


def test_special_tokens_that_leave_no_room_are_told(bert):
    loaded = transformers.AutoTokenizer.from_pretrained(bert)
    with pytest.raises(FinefuseError, match="max_tokens = 2 leaves no room for text beside its 2 special tokens"):
        tokenised(["film"], 2, loaded, "b")
    assert tokenised(["film"], 3, loaded, "b").tolist() == [2, 5, 3]
    assert tokenised([], 3, loaded, "b").tolist() == []


def test_the_files_of_a_tokeniser_tell_its_tokens_without_transformers(bert, tmp_path):
    told = vocabulary(bert, None)
    assert told is not None
    assert (told.name, told.size, told.padding) == (str(bert), 10, 0)
    other = vocabulary(tokeniser(tmp_path / "r", ROBERTA), None)
    assert other is not None
    assert (other.size, other.padding) == (10, 1)
    assert other.digest != told.digest
    bare = tmp_path / "bare"
    bare.mkdir()
    assert vocabulary(bare, None) is None
    (bare / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    assert vocabulary(bare, None) == Vocabulary(str(bare), 10, None, told.digest)


# ------------------------------------------------------------------------------------------ said before any compute


def test_a_tokeniser_of_another_network_is_refused_by_name(bert, reviews, tmp_path):
    good = csv(reviews, tokenizer=str(bert))
    assert unsuited(hf(bert), good) == ""
    other = tokeniser(tmp_path / "other", [*WORDS, "more"])
    told = unsuited(hf(bert), csv(reviews, tokenizer=str(other)))
    assert told.startswith(f"{other} is another tokeniser than that of {bert}: give the data set")
    assert "hashed words is another tokeniser" in unsuited(hf(bert), csv(reviews))
    plan = finefuse.plan(suite(csv(reviews), hf(bert)))
    assert all("hashed words" in job.skip for job in plan.jobs if job.kind != "time")


def test_without_a_tokeniser_of_its_own_a_network_knows_sizes_and_padding(reviews, tmp_path):
    bare = network(tmp_path / "bare", vocab_size=10)
    assert unsuited(hf(bare), csv(reviews, tokenizer=str(tokeniser(tmp_path / "same")))) == ""
    larger = tokeniser(tmp_path / "larger", [*WORDS, "more"])
    assert "it has 11 token numbers and not 10" in unsuited(hf(bare), csv(reviews, tokenizer=str(larger)))
    padded = tokeniser(tmp_path / "padded", ROBERTA)
    assert "it has 1 for padding and not 0" in unsuited(hf(bare), csv(reviews, tokenizer=str(padded)))


def test_a_network_of_our_own_refuses_tokens_it_can_not_take(reviews, tmp_path):
    padded = csv(reviews, tokenizer=str(tokeniser(tmp_path / "padded", ROBERTA)))
    for name in ("text-cnn", "text-transformer"):
        assert "has 1 for padding" in unsuited(Ref.of(name), padded)
        assert "say vocabulary = 20000" in unsuited(Ref.of(name), csv(reviews, vocabulary=20000))
        assert unsuited(Ref.of(name), csv(reviews, vocabulary=500)) == ""


def test_pretraining_on_other_tokens_is_refused(reviews):
    source = {"use": "csv", **csv(reviews, vocabulary=400).kwargs}
    backbone = Ref.of("text-cnn", pretrained_on=source)
    assert unsuited(backbone, csv(reviews, vocabulary=400)) == ""
    assert "was pretrained on the tokens of hashed words, and csv" in unsuited(backbone, csv(reviews))


def test_tables_and_texts_that_are_too_long_are_refused_by_check(bert, reviews, tmp_path):
    assert unsuited(hf(bert), csv(reviews, tokenizer=str(bert), max_tokens=21)) == (
        f"{bert} takes 20 tokens: set max_tokens of the data set"
    )
    assert "hf-text takes texts" in unsuited(hf(bert), Ref.of("digits"))


@pytest.mark.parametrize("kind", ["gpt2", "albert", "mpnet", "t5"])
def test_a_network_that_is_none_of_ours_is_refused_by_check(kind, reviews, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(FinefuseError, match=f"is a '{kind}', and hf-text takes bert, "):
        finefuse.plan(suite(csv(reviews), hf(tmp_path)))


def test_a_decoder_and_a_broken_configuration_are_refused_by_check(reviews, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "is_decoder": True}))
    with pytest.raises(FinefuseError, match="is a decoder, and hf-text takes encoders"):
        finefuse.plan(suite(csv(reviews), hf(tmp_path)))
    for text in ("{", "[1]"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(FinefuseError, match=r"config\.json can't be read"):
            finefuse.plan(suite(csv(reviews), hf(tmp_path)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_check_lets_pass_is_built(kind, tmp_path):
    folder = network(tmp_path, kind)
    model = transformers.AutoModel.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    assert padding_of(config) == _encoders.padding_of(model)
    assert longest_of(config) == _encoders.longest(model)
    task = replace(REGISTRY.build("dataset", Ref.of("digits")).task, modality="text", input_shape=(8,))
    net = HfText(path=folder).build(task).eval()
    assert net(torch.arange(2, 10)[None]).shape == (1, task.outputs)


# ----------------------------------------------------------------------------------------------------- broken weights


def one_sentence(folder: Path, reviews: tuple[Path, Path], bert: Path) -> str:
    task = REGISTRY.build("dataset", csv(reviews, tokenizer=str(bert))).task
    with pytest.raises((FinefuseError, NotApplicable)) as error:
        HfText(path=folder).build(task)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_truncated_weights_and_another_width_are_one_sentence(bert, reviews, tmp_path):
    folder = network(tmp_path / "cut")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "an encoder can't be loaded" in one_sentence(folder, reviews, bert)
    weights.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 16}))
    said = one_sentence(folder, reviews, bert)
    assert f"{folder}: weights of BertModel are missing or of another shape: embeddings.LayerNorm.bias, " in said


@pytest.mark.parametrize("text", ["version https://git-lfs.github.com/spec/v1\n", "<html></html>"])
def test_weights_that_are_none_are_one_sentence(text, bert, reviews, tmp_path):
    folder = network(tmp_path / "cut")
    (folder / "model.safetensors").write_text(text)
    assert "an encoder can't be loaded" in one_sentence(folder, reviews, bert)


# ------------------------------------------------------------------------------------------------------ what is said


@pytest.mark.parametrize("told", [None, 3, ["no"]])
def test_a_refusal_that_is_no_sentence_is_a_fault_of_the_plugin(told):
    class Odd:
        def refuses(self, *_: Any) -> Any:
            return told

    with pytest.raises(DeclarationError, match="from its `refuses`, which should be a sentence"):
        capabilities.refusal(Odd(), REGISTRY.build("dataset", Ref.of("digits")).task, None)
    assert capabilities.refusal(object(), REGISTRY.build("dataset", Ref.of("digits")).task, None) == ""


def test_token_numbers_are_a_vocabulary_or_nothing():
    class Odd:
        def token_numbers(self) -> Any:
            return 10

    with pytest.raises(DeclarationError, match="has 10 for its `token_numbers`"):
        capabilities.vocabulary(Odd())
    assert capabilities.vocabulary(object()) is None
