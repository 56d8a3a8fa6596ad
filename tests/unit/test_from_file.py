"""Networks that were tuned elsewhere: read from files, marked as given, keyed by content, refused in one sentence."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import finefuse
from finefuse import Classification, api
from finefuse.declare.facts import Facts
from finefuse.declare.suite import load_suite
from finefuse.discovery import capabilities
from finefuse.discovery.capabilities import DeclarationError
from finefuse.discovery.registry import Registry
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.work.given import refuse_changed_files
from finefuse.errors import FinefuseError, NotApplicable, SuiteError
from finefuse_zoo.backbones.timm_models import Timm
from finefuse_zoo.backbones.vision import Torchvision
from helpers.runs import FIXTURES, reasons

TINY = str(FIXTURES / "plugins" / "tiny.py")
MANY = {"use": "points", "outputs": 4, "centres": 7, "as": "many"}
SUITE: dict[str, Any] = {
    "name": "given",
    "budget": {"epochs": 1, "batch_size": 16},
    "datasets": [{"use": "points", "as": "few"}],
    "backbones": [{"use": "tiny", "pretrained": False}],
    "latency": [],
    "checkpoints": 0,
}
State = dict[str, Tensor]


def member(outputs: int = 3, seed: int = 0) -> State:
    """A state dict as finefuse names it."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {"stages.0.0": (8, 4), "stages.1.0": (6, 8), "head": (outputs, 6)}
    weights = {f"{name}.weight": torch.randn(shape, generator=rng) for name, shape in shapes.items()}
    return weights | {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}


def scheme(file: Path, **more: Any) -> dict[str, Any]:
    return {"use": "from-file", "as": file.stem, "file": str(file), **more}


def ran(folder: Path, schemes: list[Any], **changes: Any) -> finefuse.Run:
    how: dict[str, Any] = {"device": "cpu", "workers": 0, "quiet": True, "plugins": TINY}
    return finefuse.run(SUITE | {"schemes": schemes} | changes, out=folder / "out", store=folder / "store", **how)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three members, one of them in two files, the last under a key of a checkpoint and made by `DataParallel`."""
    made = tmp_path_factory.mktemp("files")
    save_file(member(seed=1), made / "one.safetensors")
    two = member(seed=2)
    save_file({name: tensor for name, tensor in two.items() if name.startswith("stages.")}, made / "two.safetensors")
    torch.save({f"fc.{name}": two[f"head.{name}"] for name in ("weight", "bias")}, made / "two-head.pt")
    nested = {f"module.{name}": tensor for name, tensor in member(seed=3).items()}
    torch.save({"state_dict": nested, "optimizer": {"lr": 0.1}}, made / "three.pt")
    return made


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    given = [
        scheme(folder / "one.safetensors", licence="MIT", trained_on="points, seed 0"),
        scheme(folder / "two.safetensors", head=str(folder / "two-head.pt")),
        scheme(folder / "three.pt"),
    ]
    where = tmp_path_factory.mktemp("run")
    made = ran(where, given, fusions=[{"use": "soup", "as": "soup", "rounds": 2}, "mean-probs"], seeds=[0, 1])
    rows = {(row["kind"], row["label"], row["round"], row["seed"]): row for row in made.rows}
    return SimpleNamespace(run=made, rows=rows, store=Artifacts(where / "store"), folder=where, given=given)


def test_a_network_is_what_is_in_its_files(run: SimpleNamespace) -> None:
    for number, name in enumerate(("one", "two", "three"), start=1):
        for seed in (0, 1):
            stored = run.store.weights(run.rows["tune", name, 0, seed]["artifact"])
            assert all(stored[key].equal(tensor) for key, tensor in member(seed=number).items()), name


def test_members_are_fused_as_any_others(run: SimpleNamespace) -> None:
    stored = run.store.weights(run.rows["fuse", "soup", 0, 0]["artifact"])
    for key, tensor in stored.items():
        torch.testing.assert_close(tensor, sum(member(seed=seed)[key] for seed in (1, 2, 3)) / 3)


def test_rows_say_where_a_network_is_from_and_make_no_bill(run: SimpleNamespace, folder: Path) -> None:
    row = run.rows["tune", "two", 0, 0]
    digests = {
        file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in ("two.safetensors", "two-head.pt")
    }
    told = {
        name: f"{file} (sha256 {digests[file]})"
        for name, file in (("file", "two.safetensors"), ("head", "two-head.pt"))
    }
    assert row["given"] == {"two": told | dict.fromkeys(("base", "licence", "trained_on"), "unknown")}
    assert [row[name] for name in ("seconds", "cpu_seconds", "steps", "gradients", "trainable")] == [0] * 5
    assert run.rows["tune", "one", 0, 0]["given"]["one"]["licence"] == "MIT"
    assert list(run.rows["fuse", "mean-probs", 0, 1]["given"]) == ["one", "two", "three"]
    base = run.store.weights(run.rows["pretrain", "", 0, 0]["artifact"])
    body = [name for name in base if name.startswith("stages.")]
    apart = sum((base[name] - member(seed=1)[name]).double().square().sum() for name in body)
    size = sum(base[name].double().square().sum() for name in body)
    assert run.rows["tune", "one", 0, 0]["figure.distance"] == pytest.approx(float((apart / size).sqrt()))


def test_the_board_says_given(run: SimpleNamespace) -> None:
    board = run.run.board
    origins = dict(zip(board.lines["strategy"], board.lines["origin"], strict=True))
    assert [origins[name] for name in ("one", "two", "three", "soup")] == [*["given"] * 3, "made of given"]
    text = board.to_markdown()
    costs = [line for line in text.splitlines() if line.startswith(("| one ", "| soup "))][-2:]
    assert sorted(line.count("given") for line in costs) == [1, 3]
    (note,) = [note for note in board.notes if note.startswith("one was given")]
    assert "licence MIT; trained on points, seed 0" in note
    assert "may hold test examples" not in note
    (note,) = [note for note in board.notes if note.startswith("two was given")]
    assert note.endswith("trained on unknown; its training data may hold test examples.")
    assert any(note.startswith("Given networks are the same for all seeds") for note in board.notes)
    assert "origin" in board.costs()


def test_a_given_network_is_not_tuned_again(run: SimpleNamespace) -> None:
    again = [row for row in run.run.rows if row["round"] == 1 and row["kind"] == "tune"]
    assert {row["reason"] for row in again} == {"from-file reads a finished network, and tunes none further"}


def test_each_line_that_reads_the_same_content_says_its_own_origin(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied.safetensors"
    copied.write_bytes((folder / "one.safetensors").read_bytes())
    rows = [
        row
        for schemes in ([scheme(folder / "one.safetensors"), scheme(copied)], [scheme(copied) | {"as": "later"}])
        for row in ran(tmp_path, schemes).rows
        if row["kind"] == "tune"
    ]
    assert len({row["artifact"] for row in rows}) == 1
    assert [[*row["given"]] for row in rows] == [["one"], ["copied"], ["later"]]
    assert [
        row["given"][name]["file"].split(" ")[0] for row, name in zip(rows[:2], ("one", "copied"), strict=True)
    ] == [
        "one.safetensors",
        "copied.safetensors",
    ]


@pytest.mark.parametrize("label", ["two", "soup"])
def test_the_card_says_it(run: SimpleNamespace, label: str, tmp_path: Path) -> None:
    finefuse.export(
        run.folder / "out", label, round=0, to=tmp_path / "m.safetensors", store=run.folder / "store", plugins=TINY
    )
    (card,) = [file.read_text() for file in tmp_path.iterdir() if file.suffix == ".md"]
    assert "- **origin** two was given: file two.safetensors (sha256 " in card
    assert ("**cost** of what was given is not known" in card) == (label == "two")
    assert (" s and what was given;" in card) == (label == "soup")


def test_a_changed_file_has_other_keys_and_its_place_does_not_count(folder: Path, tmp_path: Path) -> None:
    def keys(file: Path) -> set[str]:
        suite = SUITE | {"schemes": [scheme(file)]}
        return {job.key for job in api.plan(suite, device="cpu", plugins=TINY).jobs if job.kind == "tune"}

    copied = tmp_path / "one.safetensors"
    copied.write_bytes((folder / "one.safetensors").read_bytes())
    before = keys(copied)
    assert before == keys(folder / "one.safetensors")
    save_file(member(seed=9), copied)
    assert keys(copied).isdisjoint(before)


def test_a_file_that_changes_after_the_plan_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file(member(), file)
    plan = api.plan(SUITE | {"schemes": [scheme(file)]}, device="cpu", plugins=TINY)
    (job,) = [job for job in plan.jobs if job.kind == "tune"]
    refuse_changed_files(Facts(Registry([TINY])), job)
    save_file(member(seed=5), file)
    with pytest.raises(FinefuseError, match=r"^the file of a has changed since the suite was planned; run again"):
        refuse_changed_files(Facts(Registry([TINY])), job)


def damaged(change: Callable[[State], object]) -> State:
    state = member()
    change(state)
    return state


FAULTS: dict[str, tuple[State, str]] = {
    "nan": (damaged(lambda s: s["head.bias"].fill_(float("nan"))), "head.bias has values that are not finite"),
    "missing": (damaged(lambda s: s.pop("stages.1.0.bias")), "1 missing (stages.1.0.bias)"),
    "wide": (member(outputs=7), "head.weight is 7x6 instead of 3x6"),
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The reasons of members that can't be read."""
    made = tmp_path_factory.mktemp("refused")
    for name, (state, _) in FAULTS.items():
        save_file(state, made / f"{name}.safetensors")
    (made / "code.pt").write_bytes(pickle.dumps({"a": print}))
    save_file(member(), made / "fine.safetensors")
    save_file(member(seed=8), made / "base.safetensors")
    files = [*(made / f"{name}.safetensors" for name in FAULTS), made / "code.pt"]
    schemes = [*map(scheme, files), scheme(made / "fine.safetensors", base=str(made / "base.safetensors"))]
    rows = ran(made, schemes).rows
    assert {row["status"] for row in rows if row["kind"] == "tune"} == {"failed"}
    return reasons(rows)


@pytest.mark.parametrize("name", FAULTS)
def test_weights_that_do_not_fit_are_told(refused: dict[str, str], name: str) -> None:
    assert FAULTS[name][1] in refused[name]
    assert f"{name}.safetensors" in refused[name]


def test_code_is_not_run(refused: dict[str, str]) -> None:
    assert "code.pt" in refused["code"]


def test_another_base_is_told_by_name(refused: dict[str, str]) -> None:
    assert refused["fine"] == (
        "FinefuseError: "
        "fine.safetensors was tuned from base.safetensors, and the backbone starts from other weights: "
        "4 of 4 tensors differ (stages.0.0.weight, stages.0.0.bias, stages.1.0.weight, ...)"
    )


def test_the_right_base_is_accepted(run: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    save_file(run.store.weights(run.rows["pretrain", "", 0, 0]["artifact"]), tmp_path / "base.safetensors")
    rows = ran(tmp_path, [scheme(folder / "one.safetensors", base=str(tmp_path / "base.safetensors"))]).rows
    (row,) = [row for row in rows if row["kind"] == "tune"]
    assert row["status"] == "ok"
    assert row["given"]["one"]["base"].startswith("base.safetensors (sha256 ")


SENTENCES = {
    "nothing": ({"file": "no.pt"}, r"schemes\[0\].*no.pt does not exist"),
    "another digest": (
        {"sha256": "0" * 64},
        r"schemes\[0\].*the sha256 of .*one.safetensors is [0-9a-f]{64}, not 0000",
    ),
    "short digest": ({"sha256": "abc"}, r"schemes\[0\].sha256"),
    "an unknown data set": (
        {"datasets": ["fw"]},
        r"schemes\[0\].datasets\[0\]: no data set of this suite is called \"fw\"; did you mean 'few'",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_the_suite_is_refused_in_one_sentence(folder: Path, case: str) -> None:
    changes, sentence = SENTENCES[case]
    with pytest.raises(SuiteError, match=sentence):
        load_suite(SUITE | {"schemes": [scheme(folder / "one.safetensors") | changes]}, Registry([TINY]))


def test_what_was_given_is_no_part_of_another_scheme(folder: Path) -> None:
    inner = {"use": "from-file", "file": str(folder / "one.safetensors")}
    with pytest.raises(SuiteError, match="from-file gives a network tuned elsewhere, and can't be part of another"):
        load_suite(SUITE | {"schemes": [{"use": "chain", "of": [inner, "full"]}]}, Registry([TINY]))


# ------------------------------------------------------------------------------------------------------ several tasks
def test_each_task_has_its_own_file(folder: Path, tmp_path: Path) -> None:
    save_file(member(outputs=4, seed=4), tmp_path / "four.safetensors")
    schemes = [
        scheme(folder / "one.safetensors", datasets=["few"]),
        scheme(tmp_path / "four.safetensors", datasets=["many"]),
    ]
    pools = {"tasks": {"of": "*", "datasets": "*"}, "apart": {"of": ["one"]}}
    rows = ran(
        tmp_path, schemes, datasets=[*SUITE["datasets"], MANY], fusions=["soup", "own-members"], pools=pools
    ).rows
    assert {row["status"] for row in rows} == {"ok"}
    assert [(row["dataset"], row["label"]) for row in rows if row["kind"] == "tune"] == [
        ("few", "one"),
        ("many", "four"),
    ]
    across = {row["label"]: row for row in rows if row["kind"] == "fuse" and row["pool"] == "tasks"}
    assert across["own-members"]["test.normalised"] == 1
    assert list(across["soup"]["given"]) == ["one", "four"]
    assert {row["dataset"] for row in rows if row["pool"] == "apart"} == {"few"}
    stored = Artifacts(tmp_path / "store").weights(across["soup"]["artifact"])
    mean = (member(seed=1)["stages.0.0.weight"] + member(outputs=4, seed=4)["stages.0.0.weight"]) / 2
    torch.testing.assert_close(stored["stages.0.0.weight"], mean)


POOLS = {
    "has no scheme": (
        {"of": ["full"], "datasets": ["few", "many"]},
        "pools.tasks.of: has no scheme that is for many",
    ),
    "probe": (
        {"of": ["lp"], "datasets": ["few", "more"], "held_out": ["many"], "probe": "full"},
        "pools.tasks.probe: full is not for many",
    ),
}


@pytest.mark.parametrize("case", POOLS)
def test_a_pool_whose_schemes_are_for_other_data_sets_is_refused(case: str) -> None:
    pool, sentence = POOLS[case]
    schemes = [{"use": "full", "datasets": ["few"]}, {"use": "linear-probe", "as": "lp"}]
    suite = SUITE | {
        "datasets": [*SUITE["datasets"], MANY, {"use": "points", "as": "more", "centres": 3}],
        "schemes": schemes,
    }
    with pytest.raises(SuiteError, match=sentence):
        load_suite(suite | {"fusions": ["soup"], "pools": {"tasks": pool}}, Registry([TINY]))


def test_only_schemes_are_for_some_data_sets() -> None:
    suite = SUITE | {"schemes": ["full"], "fusions": [{"use": "soup", "datasets": ["few"]}]}
    with pytest.raises(SuiteError, match=r"fusions\[0\].datasets: is for schemes"):
        load_suite(suite, Registry([TINY]))


@pytest.mark.parametrize("said", [{"licence": 3}, {3: "MIT"}, "MIT"])
def test_what_a_scheme_says_of_its_origin_must_be_texts(said: Any) -> None:
    scheme = SimpleNamespace(provenance=lambda: said)
    with pytest.raises(DeclarationError, match=r"for its `provenance`, which should be a table of texts$"):
        capabilities.given(scheme)


# ------------------------------------------------------------------------------------- networks with names of their own
def test_a_backbone_reads_files_by_its_own_names(tmp_path: Path) -> None:
    import timm

    model = timm.create_model("test_resnet", num_classes=3)
    for p in model.parameters():
        nn.init.normal_(p, std=0.1)
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    task, backbone = Classification(3, "image", (3, 64, 64)), Timm(model="test_resnet", weights="none")
    x = torch.rand(2, 3, 64, 64)
    net = backbone.member(task, tmp_path / "a.safetensors", None, head=True).eval()
    torch.testing.assert_close(net(x), model.eval()(x))
    headless = backbone.member(task, tmp_path / "a.safetensors", None, head=False)
    assert headless.head.weight.shape == net.head.weight.shape
    assert not headless.head.weight.equal(net.head.weight)
    body = copy.deepcopy(headless.stages).state_dict()
    assert all(tensor.equal(net.stages.state_dict()[name]) for name, tensor in body.items())
    with pytest.raises(FinefuseError, match=r"a\.safetensors, as weights of test_resnet"):
        backbone.member(Classification(5, "image", (3, 64, 64)), tmp_path / "a.safetensors", None, head=True)


def test_a_network_whose_head_no_file_has_says_so(tmp_path: Path) -> None:
    task, backbone = Classification(3, "image", (3, 64, 64)), Torchvision(model="squeezenet1_1", weights="none")
    with pytest.raises(NotApplicable, match="squeezenet1_1 takes no head from a file of weights: give it apart"):
        backbone.member(task, tmp_path / "a.safetensors", None, head=True)
