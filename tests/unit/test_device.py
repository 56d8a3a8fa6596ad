from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

import pytest

from finefuse import device
from finefuse.device import default_workers, resolve_device, visible_gpus
from finefuse.engine.drive import shares
from finefuse.errors import FinefuseError


class Machine:
    """A pretended machine: which device files it has, which torch is installed and what that would see."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.patch = folder, patch
        self.asked_torch = 0

    def has(self, *nodes: str, torch: str = "cuda", torch_sees: int = 0, visible: str | None = None) -> None:
        for node in nodes:
            (self.folder / node).touch()
        self.patch.setattr(device, "NODES", self.folder)
        self.patch.setattr(device, "DRIVER", self.folder / "driver")
        self.patch.setattr(device, "_built_for", lambda: torch)
        self.patch.setattr(device, "_gpus_torch_sees", lambda: self._ask(torch_sees))
        if visible is None:
            self.patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            self.patch.setenv("CUDA_VISIBLE_DEVICES", visible)

    def _ask(self, answer: int) -> int:
        self.asked_torch += 1
        return answer


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


TWO_GPUS = ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null")


def test_auto_is_the_cpu_where_there_is_no_gpu(machine: Machine) -> None:
    machine.has("null", "nvidiactl")
    assert resolve_device("auto") == "cpu"
    assert not machine.asked_torch


def test_auto_is_cuda_where_there_is_one(machine: Machine) -> None:
    machine.has(*TWO_GPUS)
    assert resolve_device("auto") == "cuda"
    assert not machine.asked_torch


def test_a_torch_built_for_the_cpu_sees_no_gpu(machine: Machine) -> None:
    machine.has(*TWO_GPUS, torch="")
    assert resolve_device("auto") == "cpu"


CPU_BUILD = "from typing import Optional\n__version__ = '{}'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (CPU_BUILD.format("2.9.0+cpu"), ""),
        (CPU_BUILD.format("2.9.0"), ""),
        (CPU_BUILD.format("2.6.0a0+git1c3b"), ""),
        (CPU_BUILD.format("2.9.0+cu130").replace("cuda: Optional[str] = None", "cuda: Optional[str] = '13.0'"), "cuda"),
        ("__version__ = '2.6.0'\ncuda = '12.4'\nhip = None\n", "cuda"),
        (CPU_BUILD.format("2.9.0").replace("hip: Optional[str] = None", "hip: Optional[str] = '6.4.43482'"), "hip"),
        (None, ""),
    ],
)
def test_what_torch_was_built_for_is_read_in_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, kind: str
) -> None:
    (tmp_path / "torch").mkdir()
    if text is not None:
        (tmp_path / "torch" / "version.py").write_text(text)
    monkeypatch.setattr(metadata, "distribution", lambda _: type("", (), {"locate_file": tmp_path.joinpath}))
    assert device._built_for.__wrapped__() == kind


def test_the_installed_torch_says_the_same_itself() -> None:
    import torch

    assert device._built_for() == ("cuda" if torch.version.cuda else "hip" if torch.version.hip else "")


def test_without_torch_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_: str) -> None:
        raise metadata.PackageNotFoundError

    monkeypatch.setattr(metadata, "distribution", gone)
    assert device._built_for.__wrapped__() == ""


@pytest.mark.parametrize(("torch", "node"), [("cuda", "dxg"), ("hip", "kfd")])
def test_under_wsl_and_on_amd_torch_is_asked(machine: Machine, torch: str, node: str) -> None:
    machine.has(node, torch=torch, torch_sees=2)
    assert resolve_device("auto") == "cuda"
    assert default_workers("cuda", threads=1) == 2
    assert machine.asked_torch == 2


@pytest.mark.parametrize(("torch", "node"), [("cuda", "kfd"), ("hip", "dxg"), ("", "dxg"), ("hip", "nvidia0")])
def test_what_torch_was_not_built_for_is_no_gpu(machine: Machine, torch: str, node: str) -> None:
    machine.has(node, torch=torch, torch_sees=2)
    assert resolve_device("auto") == "cpu"
    assert not machine.asked_torch


IDS = ["GPU-8932f937", "GPU-89aa0000", "GPU-1234abcd"]


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("void", []),
        ("NoDevFiles", []),
        ("none", []),
        ("0,7,1", [0]),
        ("3", []),
        ("2, 0", [2, 0]),
        ("+1", [1]),
        ("1gpu,2ampere", [1, 2]),
        ("0,0", []),
        ("0,1,0", []),
        ("0,void,1", [0]),
        ("0,,1", [0]),
        ("GPU-1234", ["GPU-1234abcd"]),
        ("GPU-1234,GPU-8932", ["GPU-1234abcd", "GPU-8932f937"]),
        ("GPU-89", []),
        ("GPU-ffff", []),
        ("GPU-1234,0", ["GPU-1234abcd"]),
        ("GPU-1234,GPU-1234abcd", []),
        ("0,GPU-1234", [0]),
        ("MIG-1,MIG-2", ["MIG-1"]),
    ],
)
def test_a_list_of_visible_devices_is_read_as_cuda_reads_it(listed: str, found: list[int | str]) -> None:
    assert device.listed_gpus(listed, 3, IDS) == found


def test_the_driver_tells_the_ids(machine: Machine) -> None:
    machine.has(*TWO_GPUS, visible="GPU-12,GPU-34")
    assert visible_gpus() == 2
    for n, one in enumerate(["GPU-1234", "GPU-5678"]):
        (device.DRIVER / f"0000:0{n}").mkdir(parents=True)
        (device.DRIVER / f"0000:0{n}" / "information").write_text(f"Model: \t\t Some\nGPU UUID: \t {one}\nIRQ: 3\n")
    assert visible_gpus() == 1


def test_ids_are_believed_where_the_driver_tells_none() -> None:
    assert device.listed_gpus("GPU-a,GPU-b", 2, []) == ["GPU-a", "GPU-b"]


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 2), ("0", 1), ("1", 1), ("0,1", 2), ("", 0), ("-1", 0), ("0,-1,1", 1)]
)
def test_hidden_gpus_do_not_count(machine: Machine, visible: str | None, count: int) -> None:
    machine.has(*TWO_GPUS, visible=visible)
    assert visible_gpus() == count
    assert resolve_device("auto") == ("cuda" if count else "cpu")


@pytest.mark.parametrize("wanted", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_what_is_there_can_be_asked_for(machine: Machine, wanted: str) -> None:
    machine.has(*TWO_GPUS)
    assert resolve_device(wanted) == wanted


def test_a_gpu_without_device_files_is_asked_of_torch(machine: Machine) -> None:
    machine.has(torch_sees=1)
    assert resolve_device("cuda") == "cuda"
    assert machine.asked_torch == 1


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0"])
def test_cuda_where_there_is_none_is_refused_in_a_sentence(machine: Machine, wanted: str) -> None:
    machine.has()
    with pytest.raises(FinefuseError, match=f"--device {wanted}: this machine shows no CUDA device; use --device cpu"):
        resolve_device(wanted)


def test_a_gpu_too_high_is_refused_with_the_number_there_is(machine: Machine) -> None:
    machine.has(*TWO_GPUS)
    with pytest.raises(FinefuseError, match="cuda:2: this machine shows only 2 CUDA devices"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("wanted", ["gpu", "", "cuda:", "cuda:x", "cuda:-1", "CPU", "cuda0"])
def test_another_word_is_refused_with_those_expected(machine: Machine, wanted: str) -> None:
    machine.has(*TWO_GPUS)
    with pytest.raises(FinefuseError, match=r"unknown device .* expected auto, cpu, cuda"):
        resolve_device(wanted)


def test_torch_itself_agrees_about_this_machine() -> None:
    import torch

    assert device._gpus_torch_sees() == torch.cuda.device_count()


def test_one_worker_per_gpu_and_one_for_a_chosen_gpu(machine: Machine) -> None:
    machine.has(*TWO_GPUS)
    assert default_workers("cuda", threads=8) == 2
    assert default_workers("cuda:1", threads=1) == 1


@pytest.mark.parametrize("count", [1, 4])
def test_one_worker_for_each_gpu_that_only_torch_sees(machine: Machine, count: int) -> None:
    machine.has(torch_sees=count)
    assert default_workers("cuda", threads=1) == count
    assert shares.places("cuda", count) == [f"cuda:{n}" for n in range(count)]


@pytest.mark.parametrize(("cores", "threads", "workers"), [(8, 1, 8), (8, 3, 2), (2, 4, 1)])
def test_workers_on_the_cpu_share_the_cores_this_process_may_use(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert default_workers("cpu", threads) == workers


def test_workers_where_the_system_knows_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert default_workers("cpu", 1) == 1
