"""The image tower of a CLIP under heads of text, on a tiny one: outputs, stages, heads, merges, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import finefuse
from finefuse import Classification, FinefuseError, NotApplicable, Ref, nets
from finefuse.declare.facts import Facts
from finefuse.discovery.registry import Registry
from finefuse.testing.small import small_tuning
from finefuse.types import Fusing, Member
from finefuse_zoo.backbones.clip import Clip
from finefuse_zoo.fusions.git_rebasin import GitRebasin
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.fusions.task_arithmetic import TaskArithmetic
from finefuse_zoo.schemes.text_head import TextHead

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
from helpers.clips import SIDE, WIDTH, clip  # noqa: E402

REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)
NAMES = ("cat", "dog", "a bird")
TASK = Classification(3, "image", (3, SIDE, SIDE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.randint(0, 256, (5, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def headed(folder: Path, names: Any = NAMES, task: Any = TASK, **params: Any) -> nets.Net:
    """The tower with a head of text."""
    net = Clip(folder).build(task)
    tower = Clip(params.pop("tower", folder))
    on = replace(small_tuning(), task=task, model=net, class_names=names, text_head=tower.text_head)
    TextHead(**params).tune(on)
    return net.eval()


def logits(folder: Path, pictures: torch.Tensor, sentences: list[str]) -> torch.Tensor:
    """transformers' own, of pictures that are normalised by hand."""
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    told = transformers.AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        x = (pictures.float() / 255 - 0.5) / 0.25  # as preprocessor_config.json says
        return model(pixel_values=x, **told).logits_per_image


# -------------------------------------------------------------------------------------------------------- what it gives


def test_outputs_are_the_logits_of_transformers(folder: Path, pictures: torch.Tensor) -> None:
    with torch.no_grad():
        ours = headed(folder, templates=("a {}.",))(pictures)
    wanted = logits(folder, pictures, [f"a {name}." for name in NAMES])
    assert torch.allclose(ours, wanted, atol=1e-4)
    assert wanted.std() > 0.1  # else nearly anything would do


def test_several_sentences_of_a_class_are_averaged_at_length_one(folder: Path, pictures: torch.Tensor) -> None:
    templates = ("a {}.", "this is {}!", "{}")
    with torch.no_grad():
        ours = headed(folder, templates=templates)(pictures)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    parts = [logits(folder, pictures, [t.replace("{}", name) for name in NAMES]) for t in templates]
    mean = torch.stack(parts).mean(0)  # of cosines; the mean of embeddings is shorter than 1, by one factor per class
    factors = ours / mean
    assert torch.allclose(factors, factors[0].expand_as(factors), rtol=1e-3)
    assert (factors > 1).all()
    assert torch.allclose(headed(folder, templates=templates).head.weight.norm(dim=1), model.logit_scale.exp())


def test_prompts_are_put_to_the_data_sets_own_order_of_classes(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({"dog": ["a dog."], "a bird": ["a a bird."], "cat": ["a cat."]}))
    by_name = headed(folder, prompts=file).head.weight
    assert torch.equal(by_name, headed(folder, templates=("a {}.",)).head.weight)
    unnamed = headed(folder, names=("0", "1", "2"), prompts=file).head.weight
    assert torch.equal(unnamed, by_name[[1, 2, 0]])


@pytest.mark.parametrize("bias", [True, False])
def test_a_head_may_come_from_a_file(bias: bool, folder: Path, tmp_path: Path) -> None:
    head = torch.nn.Linear(WIDTH, 3, bias=bias)
    torch.save(head.state_dict(), tmp_path / "head.pt")
    made = headed(folder, file=tmp_path / "head.pt").head
    assert torch.equal(made.weight, head.weight)
    assert torch.equal(made.bias, head.bias if bias else torch.zeros(3))


def test_stages_are_patches_blocks_and_projection_and_learn_apart(folder: Path, pictures: torch.Tensor) -> None:
    net = Clip(folder, per_stage=2).build(TASK)
    assert [len([*stage.parameters()]) > 0 for stage in net.stages] == [True] * 4
    assert any("patch_embedding" in name for name, _ in net.stages[0].named_parameters())
    assert [name for name, _ in net.stages[-1].named_parameters()] == ["projection.weight"]
    whole = {name for name, _ in transformers.CLIPVisionModelWithProjection.from_pretrained(folder).named_parameters()}
    assert len([*net.stages.parameters()]) == len(whole)
    features = net.features(pictures)
    assert torch.allclose(features.norm(dim=1), torch.ones(5), atol=1e-5)
    features.sum().backward()
    assert all(p.grad is not None for p in net.stages.parameters())
    small = Clip(folder).build(replace(TASK, input_shape=(1, 8, 8)))
    assert small.features(pictures[:, :1, :8, :8]).shape == (5, WIDTH)


# ---------------------------------------------------------------------------------------------------- in pools and runs


def test_weights_are_merged_and_units_are_refused_by_name(folder: Path) -> None:
    base, members = headed(folder), []
    data = finefuse.Data(torch.zeros(4, 3, SIDE, SIDE), torch.zeros(4, dtype=torch.long))
    for seed in range(2):
        net = headed(folder)
        with torch.no_grad():
            rng = torch.Generator().manual_seed(seed)
            for p in net.stages.parameters():
                p.add_(0.01 * torch.randn(p.shape, generator=rng))
        members.append(Member(f"m{seed}", 0.5, torch.empty(0), lambda net=net: net, TASK, train=data))
    rng = torch.Generator().manual_seed(0)
    of = Fusing(TASK, members, rng, train=data, base=base)
    for name, p in Soup().fuse(of).named_parameters():
        halves = [dict(member.net.named_parameters())[name] for member in members]
        assert torch.allclose(p, sum(halves) / 2, atol=1e-6), name
    untouched = TaskArithmetic(scaling=0.0).fuse(of)
    assert all(torch.equal(p, q) for p, q in zip(untouched.parameters(), base.parameters(), strict=True))
    with pytest.raises(NotApplicable, match=r"can't be followed|attention"):
        GitRebasin().fuse(of)


SUITE = """
name      = "clips"
seeds     = [0]
datasets  = [{ use = "shapes", shots = 1, val = 1, side = 16 }, { use = "arrows", shots = 1, val = 1, side = 16 }]
backbones = [{ use = "clip", path = "tiny" }]
schemes   = [
    "text-head", { use = "frozen-head", as = "tuned", of = "full", probe = { use = "text-head", templates = ["{}"] } },
]
fusions   = ["soup"]
pools     = { tasks = { of = ["tuned"], datasets = "*" } }
budget    = { steps = 2, batch_size = 4 }
checkpoints = 0
latency   = []
"""


def test_a_tower_is_tuned_under_a_frozen_head_and_merged_across_tasks(folder: Path, tmp_path: Path) -> None:
    file = folder.parent / "clips.toml"
    file.write_text(SUITE)
    run = finefuse.run(file, out=tmp_path / "out", store=tmp_path / "store", executor="serial", quiet=True)
    assert [(row["cell"], row["reason"]) for row in run.bad] == []
    steps = {row["label"]: row["steps"] for row in run.rows if row["kind"] == "tune"}
    assert steps == {"text-head": 0, "tuned": 2}
    assert [row["label"] for row in run.rows if row["kind"] == "fuse"] == ["soup"]


def test_what_lies_in_the_folder_is_part_of_the_key(folder: Path, tmp_path: Path) -> None:
    contents = [
        Clip(path).fingerprint() for path in (folder, clip(tmp_path / "same"), clip(tmp_path / "other", seed=1))
    ]
    assert contents[0] == contents[1] != contents[2]
    assert Clip(hub="openai/clip@abc").fingerprint() == "openai/clip@abc"


# ------------------------------------------------------------------------------------------------------ what is refused


def test_other_inputs_and_other_folders_are_refused_before_any_compute(folder: Path, tmp_path: Path) -> None:
    told = Facts(REGISTRY).unsuited(Ref.of("clip", path=str(folder)), Ref.of("diabetes"))
    assert told.startswith("clip takes images of one or three channels, not tabular inputs")
    with pytest.raises(FinefuseError, match="there is no such folder; it should hold a CLIP"):
        Clip(tmp_path / "none").fingerprint()
    for content, said in (("{}", "is a None, and clip takes a 'clip'"), ('{"model_type": "bert"}', "is a 'bert'")):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(FinefuseError, match=said):
            Clip(tmp_path).refuses(TASK, None)
    (tmp_path / "config.json").unlink()
    with pytest.raises(FinefuseError, match=r"there is no config\.json"):
        Clip(tmp_path).refuses(TASK, None)


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = clip(tmp_path / "broken")
    file = broken / "model.safetensors"
    state = load_file(file)
    del state["visual_projection.weight"]
    save_file(state, file, {"format": "pt"})
    with pytest.raises(FinefuseError, match=r"are missing or of another shape: visual_projection\.weight"):
        Clip(broken).build(TASK)
    with pytest.raises(FinefuseError, match=r"are missing or of another shape: visual_projection\.weight"):
        headed(folder, tower=broken)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"prompts": Path(), "file": Path()}, "leave one out"),
        ({"templates": ("a photo",)}, r"one {} for the name of the class, not 'a photo'"),
        ({"prompts": Path("none.json")}, r"none\.json does not exist"),
    ],
)
def test_parameters_that_say_nothing_or_too_much_are_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TextHead(**params)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "can't be read"),
        ('["cat"]', "should hold a JSON object with a list of sentences"),
        ('{"cat": []}', "should hold a JSON object with a list of sentences"),
        ('{"cat": ["a"], "dog": ["b"]}', "has no sentences for the class 'a bird'"),
        ('{"cat": ["a"], "dog": ["b"], "a bird": ["c"], "fish": ["d"]}', "for 4 classes, and the task 3"),
    ],
)
def test_prompts_for_other_classes_are_refused(content: str, said: str, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompts.json"
    file.write_text(content)
    with pytest.raises(FinefuseError, match=said):
        headed(folder, prompts=file)


def test_other_networks_and_heads_are_refused(folder: Path, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(WIDTH + 1, 3).state_dict(), tmp_path / "head.pt")
    with pytest.raises(FinefuseError, match="as the head"):
        headed(folder, file=tmp_path / "head.pt")
    with pytest.raises(NotApplicable, match="this backbone has no tower for text"):
        TextHead().tune(small_tuning())


@pytest.mark.parametrize("params", [{}, {"path": Path(), "hub": "openai/clip@abc"}, {"hub": "openai/clip"}], ids=str)
def test_it_is_in_a_folder_or_on_the_hub_by_its_revision(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs a path, or hub = |has no revision"):
        Clip(**params)
