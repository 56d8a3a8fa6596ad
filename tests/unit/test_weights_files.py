"""Other people's files of weights: what they are nested in, what they are, and what is wrong with them."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from finefuse import FinefuseError, Ref
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.backbones import _weight_files, _weights
from finefuse_zoo.backbones.vision import Torchvision

REGISTRY = Registry(("finefuse_zoo.hooks",), entry_points=False)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return {name: tensor + (1 if tensor.is_floating_point() else 0) for name, tensor in network().state_dict().items()}


def saved(content: Any, file: Path) -> Path:
    torch.save(content, file)
    return file


def loaded(file: Path, key: str | None = None) -> dict[str, Tensor]:
    model = network()
    _weights.fit(model, _weights.read(file, model, key), str(file))
    return model.state_dict()


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def refused(content: Any, file: Path) -> str:
    """The one sentence about a file; `content` is saved unless it is bytes."""
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        saved(content, file)
    with pytest.raises(FinefuseError) as caught:
        loaded(file)
    told = str(caught.value)
    assert "\n" not in told
    assert str(file) in told
    return told


# ------------------------------------------------------------------------------------------------- what it is nested in


@pytest.mark.parametrize(
    "prefix", ["", "module.", "model.", "net.", "backbone.", "_orig_mod.", "module.model.net.", "a.b."]
)
@pytest.mark.parametrize("under", ["", "state_dict", "model_state_dict", "model", "net", "my_weights"])
def test_wrappers_and_a_common_prefix_are_seen_through(prefix, under, state, tmp_path):
    content: Any = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    if under:
        optimizer = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
        content = {"epoch": 3, "optimizer": optimizer, "optimizer_state_dict": optimizer, under: content}
    file = saved(content, tmp_path / "w.pth")
    assert same(loaded(file), state)
    assert _weights.remark(file, None) == ""


def test_a_prefix_that_the_network_has_itself_stays(tmp_path):
    model = nn.ModuleDict({"model": nn.Linear(2, 2)})
    file = saved(model.state_dict(), tmp_path / "w.pth")
    assert _weights.read(file, model).keys() == {"model.weight", "model.bias"}


@pytest.mark.parametrize("average", ["ema", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema", "shadow"])
def test_of_weights_and_their_average_the_weights_are_taken_and_that_is_said(average, state, tmp_path):
    other = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    file = saved({average: other, "model": state}, tmp_path / "w.pth")
    assert same(loaded(file), state)
    assert same(loaded(file, average), other)
    said = f"{file}: of {average}, model the weights under 'model' are taken; `weights_key` chooses others"
    assert _weights.remark(file, None) == said
    assert Torchvision(file=file).remarks() == [said]
    assert Torchvision(file=file, weights_key=average).remarks() == []
    alone = saved({average: other, "epoch": 1}, tmp_path / "alone.pth")
    assert same(loaded(alone), other)
    assert f"{average!r} are taken" in _weights.remark(alone, None)


def test_a_key_may_lead_deeper_and_a_wrong_one_gets_a_suggestion(state, tmp_path):
    file = saved(
        {"student": {"state_dict": state}, "teacher": {"state_dict": {"x": torch.ones(1)}}}, tmp_path / "w.pth"
    )
    assert same(loaded(file, "student.state_dict"), state)
    assert same(loaded(file, "student"), state)
    with pytest.raises(FinefuseError, match="has nothing under the key 'studnet'; did you mean 'student'\\?"):
        loaded(file, "studnet")


def test_several_without_a_usual_name_ask_for_the_key(state, tmp_path):
    said = refused({"generator": state, "critic": state}, tmp_path / "w.pth")
    assert said.endswith("holds several state dicts: say weights_key = one of generator, critic")


def test_torch_s_averaged_model_has_a_counter_beside(state, tmp_path):
    model = network()
    model.load_state_dict(state)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    assert same(loaded(saved(averaged.state_dict(), tmp_path / "w.pth")), state)


def test_a_key_without_a_file_is_refused():
    with pytest.raises(ParameterError, match="weights_key says which weights of a file are taken"):
        REGISTRY.build("backbone", Ref.of("torchvision", weights_key="ema"))


def test_a_dictionary_in_itself_ends(tmp_path):
    around: dict[str, Any] = {}
    around["state_dict"] = around
    assert "holds no state dict: state_dict is no tensor" in refused(around, tmp_path / "w.pth")


# ------------------------------------------------------------------------------------------------------ what it is


@pytest.mark.parametrize("name", ["w.bin", "w.pth", "w", "w.safetensors"])
def test_the_content_says_what_it_is_and_not_the_ending(name, state, tmp_path):
    save_file(state, tmp_path / name)
    assert same(loaded(tmp_path / name), state)
    saved(state, tmp_path / name)
    assert same(loaded(tmp_path / name), state)
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=False)
    assert same(loaded(tmp_path / name), state)


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_shards_with_an_index(ending, state, tmp_path):
    names = list(state)
    parts = {"one": names[:3], "two": names[3:]}
    for part, some in parts.items():
        content = {name: state[name] for name in some}
        if ending == "bin":
            torch.save(content, tmp_path / f"{part}.bin")
        else:
            save_file(content, tmp_path / f"{part}.safetensors")
    index = tmp_path / f"model.{ending}.index.json"
    index.write_text(json.dumps({"weight_map": {name: f"{part}.{ending}" for part in parts for name in parts[part]}}))
    assert same(loaded(index), state)
    before = _weights.digest_of(index)
    save_file({"x": torch.ones(1)}, tmp_path / f"two.{ending}")
    assert _weights.digest_of(index) != before
    (tmp_path / f"two.{ending}").unlink()
    assert refused(None, index).endswith(f"is an index, and its part two.{ending} is missing")


@pytest.mark.parametrize("name", ["../one.bin", "/etc/passwd", ""])
def test_an_index_names_files_beside_it_alone(name, tmp_path):
    told = refused(json.dumps({"weight_map": {"a": name}}).encode(), tmp_path / "index.json")
    assert told.endswith("is an index of files that aren't beside it")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n",
            "is a pointer of git-lfs and not",
        ),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is an HTML page"),
        (b"<html>404", "is an HTML page"),
        (b"", "is empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
        (b"GGUF" + bytes(100), "is a GGUF file"),
        (b"\x1f\x8b" + bytes(100), "is compressed by gzip"),
        (b'{"a": 1}', "is JSON, but not an index"),
        (b"{" * 1000, "is JSON, but not an index"),
        (b"hello, these are no weights", "is neither safetensors nor what torch.save wrote"),
        (b"PK\x03\x04" + bytes(100), "is cut off or damaged"),
        (b"\x80\x02" + bytes(100), "damaged or holds more than tensors"),
        (b"\xff\xff\xff\xff\0\0\0\0{", "is damaged: its header should have 4,294,967,295 bytes"),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_is_no_weights_is_told_by_what_it_is(name, content, told, tmp_path):
    assert told in refused(content, tmp_path / name)


def test_files_that_were_cut_off_say_so(state, tmp_path):
    save_file(state, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    assert "is cut off: " in refused(whole[:-10], tmp_path / "w.safetensors")
    whole = saved(state, tmp_path / "w.pth").read_bytes()
    for length in (len(whole) // 2, len(whole) - 10):
        assert "is cut off or damaged" in refused(whole[:length], tmp_path / "w.pth")


# ----------------------------------------------------------------------------------------------- what is wrong with it


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("0.weight", lambda t: t.fill_(float("nan")), "0.weight has values that are not finite"),
        ("3.bias", lambda t: t.index_fill(0, torch.tensor(1), float("inf")), "3.bias has values that are not finite"),
        ("1.running_mean", lambda t: t * float("inf"), "1.running_mean has values that are not finite"),
        ("1.running_var", lambda t: -t, "1.running_var has variances below 0"),
        ("3.weight", lambda t: t.to(torch.int64), "3.weight holds torch.int64 and not floats"),
        ("3.weight", lambda t: t > 0, "3.weight holds torch.bool and not floats"),
        ("3.weight", lambda t: t.to(torch.complex64), "3.weight is complex"),
        ("3.weight", lambda t: t.to_sparse(), "3.weight is sparse (torch.sparse_coo): save it dense"),
        ("3.weight", lambda t: t.to_sparse_csr(), "3.weight is sparse (torch.sparse_csr): save it dense"),
        ("3.weight", lambda t: t.to("meta"), "3.weight is on the meta device, and so has no values"),
        (
            "3.weight",
            lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
            "3.weight is quantised (torch.qint8): save it dequantised",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_tensor_that_can_not_be_used_is_named(name, change, told, state, tmp_path):
    content = {**state, name: change(state[name].clone())}
    assert told in refused(content, tmp_path / "w.pth")


def test_floats_of_other_sizes_are_fine(state, tmp_path):
    for kind in (torch.float64, torch.bfloat16, torch.float16, torch.float8_e4m3fn):
        content = {name: t.to(kind) if t.is_floating_point() else t for name, t in state.items()}
        expected = {name: t.float() if t.is_floating_point() else t for name, t in content.items()}
        assert same(loaded(saved(content, tmp_path / "w.pth")), expected)


def test_what_does_not_fit_is_listed_with_a_guess(state, tmp_path):
    content = {name.replace("3.", "33."): tensor for name, tensor in state.items()}
    assert refused(content, tmp_path / "w.pth").endswith(
        "2 missing (3.weight, 3.bias), 2 not known (33.weight, 33.bias); is its 33.weight the network's 3.weight?"
    )


# ------------------------------------------------------------------------------------------------------------- bombs


@pytest.mark.parametrize("kind", ["pth", "safetensors", "legacy"])
def test_a_file_far_larger_than_the_network_is_not_read(kind, state, tmp_path, monkeypatch):
    monkeypatch.setattr(_weight_files, "LEAST", 2**20)
    content = {**state, "more": torch.zeros(2**19)}
    file = tmp_path / "w"
    if kind == "safetensors":
        save_file(content, file)
    else:
        torch.save(content, file, _use_new_zipfile_serialization=kind == "pth")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    assert re.search(r"says that it holds 2 MiB, and the network has 0 MiB; save", refused(None, file))


def test_a_gigabyte_in_a_small_archive_is_not_unpacked(state, tmp_path, monkeypatch):
    whole = io.BytesIO()
    torch.save({**state, "more": torch.zeros(2**22)}, whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for member in source.infolist():
            packed.writestr(member.filename, source.read(member))
    assert (tmp_path / "w.pth").stat().st_size < 2**17
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    assert "is a compressed archive, which torch.save never writes" in refused(None, tmp_path / "w.pth")


def test_a_tensor_that_is_large_by_its_strides_alone_is_not_copied(state, tmp_path):
    content = {**state, "3.weight": torch.zeros(1).expand(2**34, 2**4)}
    assert "1 of another shape (3.weight is 17179869184x16 instead of 3x8)" in refused(content, tmp_path / "w.pth")
