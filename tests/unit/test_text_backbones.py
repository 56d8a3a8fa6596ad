"""text-cnn, text-transformer, mlp and hf-text: padding, stages, pretraining on a csv, and schemes on top of them."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from finefuse import Classification, FinefuseError, NotApplicable, Ref, Regression, Task, testing
from finefuse.discovery.registry import Registry
from finefuse.engine.randomness import seeded
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.errors import ParameterError, PluginError
from finefuse.nets import Net, evaluation
from finefuse.testing.small import prepare_for
from finefuse.types import Budget, Data, Tuning
from finefuse_zoo.backbones._text import EncoderBlock, MeanOfTokens, TokenEmbedding, WidestMatches
from finefuse_zoo.backbones.tabular import Mlp
from finefuse_zoo.backbones.text import TextCnn, TextTransformer
from finefuse_zoo.datasets.csv_table import CsvTable

REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)
TEXTS = Classification(3, "text", (8,))
SMALL: dict[str, Any] = {
    "text-cnn": TextCnn(vocabulary=40, dim=8, filters=8),
    "text-transformer": TextTransformer(vocabulary=40, heads=2, head_width=4),
}
REFUSED = {
    *product(["text-cnn"], ("norm-tune", "side-tune", "miss", "vera")),
    *product(SMALL, ("stochnorm", "text-head")),
}
"""Schemes that need what these networks don't have: norm or linear layers, widths of an embedding, CLIP's tower."""
EXAMPLES: dict[str, dict[str, Any]] = {
    "chain": {"of": ["linear-probe", "discriminative"], "plus": ["l2-sp"]},
    "frozen-head": {"of": "full"},
}
SCHEMES = [one for one in REGISTRY.entries("scheme") if one.entry.name not in ("search", "as-is", "from-file")]

both = pytest.mark.parametrize("name", SMALL)


def ids(n: int = 12, length: int = 8, seed: int = 0) -> Tensor:
    """Texts of 1 to `length` tokens."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randint(2, 40, (n, length), generator=rng)
    ends = torch.randint(1, length + 1, (n, 1), generator=rng)
    return x * (torch.arange(length) < ends)


def built(backbone: Any, task: Task = TEXTS, seed: int = 0) -> Net:
    with seeded(seed):
        return backbone.build(task).eval()  # type: ignore[no-any-return]


def longer(x: Tensor, by: int) -> Tensor:
    return torch.cat([x, x.new_zeros(len(x), by)], dim=1)


# ------------------------------------------------------------------------------------------------------------- modules


def test_padding_is_zeros_and_tokens_are_their_vectors_and_positions():
    tokens, x = TokenEmbedding(40, 4, length=8), ids()
    out = tokens(x)
    assert torch.equal((out != 0).any(-1), x != 0)
    assert torch.equal(out[0, 0], tokens.table.weight[x[0, 0]] + tokens.positions[0])


def test_a_token_beyond_the_vocabulary_is_named():
    with pytest.raises(FinefuseError, match="token 39 is beyond the backbone's vocabulary of 30"):
        TokenEmbedding(30, 4)(torch.tensor([[39, 2]]))


def test_a_block_is_torchs_encoder_layer_and_does_not_see_padding():
    ours, theirs = (
        EncoderBlock(12, 3, 0.0).eval(),
        nn.TransformerEncoderLayer(12, 3, 48, 0.0, "gelu", batch_first=True, norm_first=True),
    )
    pairs = {"self_attn.in_proj_": ours.qkv, "self_attn.out_proj.": ours.out, "linear1.": ours.perceptron[0]}
    pairs |= {"linear2.": ours.perceptron[2], "norm1.": ours.before_attention, "norm2.": ours.before_perceptron}
    theirs.load_state_dict({f"{name}{of}": getattr(m, of) for name, m in pairs.items() for of in ("weight", "bias")})
    x, real = (
        torch.randn(5, 6, 12, generator=torch.Generator().manual_seed(0)),
        torch.arange(6) < torch.arange(2, 7)[:, None],
    )
    x = x * real[..., None]
    expected = theirs.train()(x, src_key_padding_mask=~real)
    assert torch.allclose(ours(x)[real], expected[real], atol=1e-5)
    assert not ours(x)[~real].any()


def test_the_mean_is_over_tokens_alone():
    x = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [0.0, 0.0]], [[0.0, 0.0]] * 3])
    assert MeanOfTokens(nn.Identity())(x).tolist() == [[2.0, 4.0], [0.0, 0.0]]


def test_the_widest_match_is_that_of_a_plain_loop():
    x = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    with seeded(0):
        module = WidestMatches(4, 3, (2, 3), 0.5).eval()
    expected = []
    for conv, width in zip(module.convolutions, (2, 3), strict=True):
        padded = nn.functional.pad(x, (0, 0, width - 1, width - 1))
        windows = [padded[:, i : i + width] for i in range(padded.shape[1] - width + 1)]
        kernel = conv.weight.squeeze(-1).transpose(1, 2)  # (filters, width, dim)
        found = torch.stack([torch.einsum("ntd,ftd->nf", window, kernel) + conv.bias for window in windows])
        expected.append(found.relu().amax(0))
    assert torch.allclose(module(x), torch.cat(expected, 1), atol=1e-5)


# ------------------------------------------------------------------------------------------------------------ networks


@both
def test_stages_and_head_hold_every_parameter_once_and_every_stage_has_some(name):
    net = built(SMALL[name])
    apart = [id(p) for part in [*net.stages, net.head] for p in part.parameters()]
    assert sorted(apart) == sorted(id(p) for p in net.parameters())
    assert all(next(stage.parameters(), None) is not None for stage in net.stages)
    assert len(net.stages) == (2 if name == "text-cnn" else 4)


@both
def test_an_example_does_not_depend_on_its_batch_and_learns_everywhere(name):
    net, x = built(SMALL[name]), ids()
    assert net(x).shape == (12, 3)
    assert torch.allclose(net(x)[3:4], net(x[3:4]), atol=1e-5)
    net(x).square().sum().backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


@pytest.mark.parametrize("name", SMALL)
def test_a_text_means_the_same_with_more_padding_behind_it(name):
    x = ids(length=6)
    short, long = (built(SMALL[name], replace(TEXTS, input_shape=(n,))) for n in (8, 12))
    state = {key: value for key, value in short.state_dict().items() if "positions" not in key}
    long.load_state_dict(state, strict=False)
    if name == "text-transformer":
        long.stages[0].positions.data[:8] = short.stages[0].positions
    assert torch.allclose(short(longer(x, 2)), long(longer(x, 6)), atol=1e-5)


@both
def test_the_order_of_words_matters(name):
    net = built(SMALL[name])
    assert not torch.allclose(net(torch.arange(2, 10)[None]), net(torch.arange(9, 1, -1)[None]), atol=1e-3)


@pytest.mark.slow
@both
def test_it_can_be_exported(name):
    net, x = built(SMALL[name]), ids()
    exported = torch.export.export(net, (x,))
    assert torch.allclose(exported.module()(x), net(x), atol=1e-5)


@pytest.mark.parametrize("backbone", [*SMALL.values(), Mlp()], ids=[*SMALL, "mlp-table"])
def test_other_inputs_are_refused_in_one_sentence(backbone):
    for task in (Classification(2, "image", (1, 8, 8)), replace(TEXTS, modality="image")):
        with pytest.raises(NotApplicable, match=r"takes (texts|rows of a table) \(\w+,\), not image inputs of shape"):
            backbone.build(task)


def test_mlp_takes_rows_of_any_width():
    for columns in (1, 7):
        net = built(Mlp(width=5, depth=2), Regression(1, "tabular", (columns,)))
        assert net(torch.randn(4, columns)).shape == (4, 1)
        assert len(net.stages) == 2


# --------------------------------------------------------------------------------------------------------- pretraining


def test_without_a_source_the_weights_are_random():
    assert (TextCnn().source, TextTransformer().source, Mlp().source) == (None, None, None)


def test_the_source_is_any_data_set():
    given = {"use": "csv", "train": "a.tsv", "target": "y", "text": "x"}
    backbone = REGISTRY.build("backbone", Ref.of("text-cnn", pretrained_on=given, pretrain_epochs=2))
    assert backbone.source == Ref.of("csv", train="a.tsv", target="y", text="x")
    assert backbone.budget() == Budget(epochs=2, batch_size=64)
    assert REGISTRY.build("backbone", Ref.of("mlp-table", pretrained_on="diabetes")).source == Ref("diabetes")
    with pytest.raises(PluginError, match="has no `use`"):
        _ = TextCnn(pretrained_on={"train": "a.tsv"}).source


@pytest.fixture
def reviews(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """200 texts: the third word decides, and it is one of three for each class."""
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    words = (("dull", "flat", "poor"), ("fine", "rich", "warm"))
    rows = [f"{i % 2}\tfilm {i % 17} {words[i % 2][i % 3]} number {i}" for i in range(200)]
    (tmp_path / "r.tsv").write_text("label\tsaid\n" + "\n".join(rows) + "\n")
    return tmp_path / "r.tsv"


@both
def test_pretraining_learns_a_word(name, reviews):
    splits = CsvTable(reviews, "label", text="said", max_tokens=8, vocabulary=200).splits(0)
    backbone = replace(SMALL[name], vocabulary=200)
    net = built(backbone, splits.task)
    trainer = SuiteTrainer(splits.task, splits.train, Budget(epochs=20, batch_size=16), seed=0)
    on = testing.small_tuning()
    replace(backbone, pretrain_lr=0.01).tune(replace(on, task=splits.task, model=net, trainer=trainer))
    assert trainer.spent == trainer.budget
    assert splits.task.quality(trainer.outputs(net, splits.test.x), splits.test) > 0.9


# ------------------------------------------------------------------------------------------------------------- schemes


def examples(outputs: int, seed: int) -> Data:
    y = torch.arange(12) % outputs
    x = ids(seed=seed)
    x[:, 0] = 2 + y
    return Data(x, y)


@pytest.mark.parametrize("one", SCHEMES, ids=[one.entry.name for one in SCHEMES])
@pytest.mark.parametrize("name", ["text-cnn", pytest.param("text-transformer", marks=pytest.mark.slow)])
def test_schemes_tune_networks_of_text_or_say_why_not(name, one):
    if one.missing:
        pytest.skip(f"{one.entry.name} {one.missing}")
    scheme = REGISTRY.build("scheme", Ref.of(one.entry.name, **EXAMPLES.get(one.entry.name, {})))
    original = built(SMALL[name], replace(TEXTS, outputs=5))
    train, val, before = examples(3, 1), examples(3, 2), testing.snapshot(original)
    model, trainer = copy.deepcopy(original), SuiteTrainer(TEXTS, train, Budget(epochs=2, batch_size=4), seed=0)
    on = replace(
        testing.small_tuning(), task=TEXTS, model=model, pretrained=original, trainer=trainer, train=train, val=val
    )
    reason = refusal(scheme, replace(on, source=examples(5, 3)))
    assert (reason is not None) == ((name, one.entry.name) in REFUSED), reason
    if reason is not None:
        return
    assert trainer.spent <= trainer.budget
    assert not testing.changed(before, original)
    with evaluation(model):
        outputs = model(val.x)
    assert outputs.shape == (12, 3)
    assert outputs.isfinite().all()


@pytest.mark.parametrize(("cls", "scheme"), [(TextCnn, "head-sgd"), (TextTransformer, "head-sgd"), (TextCnn, "lora")])
def test_few_steps_at_the_default_rate_learn_the_training_texts(cls, scheme):
    """At a rate of 0.001 they have 34, 28 and 54 % of them right after 47 steps."""
    task = Classification(5, "text", (16,))
    rng, y = torch.Generator().manual_seed(1), torch.arange(50) % 5
    x = torch.randint(50, 400, (50, 16), generator=rng)
    x[:, 3] = 2 + 4 * y + torch.randint(4, (50,), generator=rng)
    net, train = built(cls(vocabulary=400), task), Data(x, y)
    trainer = SuiteTrainer(task, train, Budget(30, 32), seed=0)
    tuned = REGISTRY.build("scheme", Ref(scheme))
    prepare_for(tuned, net)
    tuned.tune(
        Tuning(task, net, net, trainer, train, train, rng, lambda spec: REGISTRY.build("scheme", Ref.read(spec)))
    )
    assert float((trainer.outputs(net, x).argmax(1) == y).float().mean()) > 0.8


def refusal(scheme: Any, on: Tuning) -> str | None:
    """Tune; the reason if the scheme can't."""
    try:
        with seeded(1):
            on.model.replace_head(3)
            if hasattr(scheme, "prepare"):
                scheme.prepare(on.model)
        scheme.tune(on)
    except NotApplicable as reason:
        return str(reason)
    return None


# ------------------------------------------------------------------------------------------------------------- hf-text


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Folders with tiny encoders and a tokeniser, by the kind of network; made when first asked for."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    top, made = tmp_path_factory.mktemp("hf"), {}
    size = {"hidden_size": 12, "num_attention_heads": 2, "num_hidden_layers": 3, "vocab_size": 40}
    size |= {"intermediate_size": 16, "max_position_embeddings": 20}
    other = {"dim": 12, "n_heads": 2, "n_layers": 3, "hidden_dim": 16, "vocab_size": 40, "max_position_embeddings": 20}
    kinds = {
        "bert": lambda: transformers.BertConfig(**size),
        "roberta": lambda: transformers.RobertaConfig(**size),
        "electra": lambda: transformers.ElectraConfig(embedding_size=6, **size),
        "distilbert": lambda: transformers.DistilBertConfig(**other),
        "mpnet": lambda: transformers.MPNetConfig(**size),
        "gpt2": lambda: transformers.GPT2Config(n_embd=12, n_head=2, n_layer=2, vocab_size=40, n_positions=20),
    }

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = top / kind
            with seeded(0):
                transformers.AutoModel.from_config(kinds[kind]()).save_pretrained(made[kind])
            words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film", "fine", "dull", "##er", "."]
            (made[kind] / "vocab.txt").write_text("\n".join(words) + "\n")
            transformers.BertTokenizerFast(str(made[kind] / "vocab.txt")).save_pretrained(made[kind])
        return made[kind]

    return folder


def hf(path: Path, **params) -> Any:
    return REGISTRY.build("backbone", Ref.of("hf-text", path=str(path), **params))


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert"])
def test_the_stages_of_an_encoder_compute_what_it_does(kind, saved):
    from transformers import AutoModel

    net, whole = built(hf(saved(kind))), AutoModel.from_pretrained(saved(kind)).eval()
    padding = whole.config.pad_token_id
    x = torch.where(ids() == 0, padding, ids().clamp_min(2))
    mask = x != padding
    with torch.no_grad():
        hidden = whole(input_ids=x, attention_mask=mask.long())[0]
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        assert torch.allclose(net.features(x), mean, atol=1e-5)
        assert torch.allclose(built(hf(saved(kind), pool="first")).features(x), hidden[:, 0], atol=1e-5)
    assert len(net.stages) == 4
    assert len(built(hf(saved(kind), per_stage=2)).stages) == 3
    assert all(next(stage.parameters(), None) is not None for stage in net.stages)


def test_an_encoder_of_another_kind_is_refused(saved):
    for kind in ("gpt2", "mpnet"):
        with pytest.raises(FinefuseError, match=f"{kind} is a '{kind}', and hf-text takes bert, .* or xlm-roberta$"):
            built(hf(saved(kind)))


def test_what_is_missing_is_named(saved, tmp_path, monkeypatch):
    with pytest.raises(FinefuseError, match="there is no such folder"):
        hf(tmp_path / "none").fingerprint()
    with pytest.raises(FinefuseError, match="there is no such folder; it should hold an encoder"):
        built(hf(tmp_path / "none"))
    (tmp_path / "config.json").write_text((saved("bert") / "config.json").read_text())
    with pytest.raises(FinefuseError, match="an encoder can't be loaded"):
        built(hf(tmp_path))
    with pytest.raises(ParameterError, match="'bert' has no revision"):
        REGISTRY.build("backbone", Ref.of("hf-text", hub="bert"))
    with pytest.raises(ParameterError, match="needs a path"):
        REGISTRY.build("backbone", Ref("hf-text"))


def test_weights_that_are_missing_are_listed(saved, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(saved("bert") / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((saved("bert") / "config.json").read_text())
    with pytest.raises(FinefuseError, match=r"missing or of another shape: encoder\.layer\.1\.output\.dense\.weight$"):
        built(hf(tmp_path))


def test_longer_texts_than_it_takes_are_refused(saved):
    with pytest.raises(NotApplicable, match="takes 20 tokens"):
        built(hf(saved("bert")), replace(TEXTS, input_shape=(21,)))
    with pytest.raises(NotApplicable, match="takes 18 tokens"):  # its positions begin behind the padding's number
        built(hf(saved("roberta")), replace(TEXTS, input_shape=(19,)))


def test_its_fingerprint_is_that_of_the_files(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path))
    assert hf(saved("bert")).fingerprint() == hf(saved("bert"), pool="first").fingerprint()
    assert hf(saved("bert")).fingerprint() != hf(saved("electra")).fingerprint()


def test_a_csv_is_tokenised_as_the_encoder_expects(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("FINEFUSE_CACHE", str(tmp_path / "cache"))
    rows = [f"{i % 2}\t{'Fine film .' if i % 2 else 'duller film'}" for i in range(20)]
    (tmp_path / "t.tsv").write_text("y\tx\n" + "\n".join(rows) + "\n")
    plain = CsvTable(tmp_path / "t.tsv", "y", text="x", max_tokens=6)
    dataset = replace(plain, tokenizer=saved("bert"))
    splits = dataset.splits(0)
    assert dataset.fingerprint() not in ("", plain.fingerprint())
    assert set(map(tuple, splits.train.x[splits.train.y == 1].tolist())) == {(2, 6, 5, 9, 3, 0)}
    assert set(map(tuple, splits.train.x[splits.train.y == 0].tolist())) == {(2, 7, 8, 5, 3, 0)}
    assert built(hf(saved("bert")), splits.task)(splits.train.x).shape == (len(splits.train), 2)


def test_without_transformers_a_tokeniser_says_what_to_install(monkeypatch):
    import finefuse_zoo.datasets.csv_table as module

    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"needs transformers: pip install 'finefuse\[text\]'"):
        CsvTable(Path("t.tsv"), "y", text="x", tokenizer=Path("b"))
