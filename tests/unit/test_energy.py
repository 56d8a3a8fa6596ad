"""Energy is what counters say, of this job alone, or null with the reason."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from finefuse.engine.measure import energy
from finefuse.engine.measure.energy import Counters, Energy
from finefuse.engine.measure.load import Load
from finefuse.engine.work.chosen import _energy

CPU = torch.device("cpu")


def package(powercap: Path, name: str, joules: float, called: str = "package-0", span: float = 262_143.0) -> Path:
    folder = powercap / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (("name", called), ("energy_uj", joules * 1e6), ("max_energy_range_uj", span * 1e6)):
        (folder / file).write_text(f"{text if isinstance(text, str) else round(text)}\n")
    return folder


def test_all_packages_count_and_nothing_within_or_around_them(tmp_path):
    for i, joules in enumerate((100.0, 7.0)):
        package(tmp_path, f"intel-rapl:{i}", joules, f"package-{i}")
        package(tmp_path, f"intel-rapl:{i}:0", 50.0, "core")
    package(tmp_path, "intel-rapl:2", 900.0, "psys")
    package(tmp_path, "intel-rapl-mmio:0", 100.0)
    before = Counters.now(CPU, tmp_path)
    package(tmp_path, "intel-rapl:0", 130.5)
    package(tmp_path, "intel-rapl:1", 9.0, "package-1")
    package(tmp_path, "intel-rapl:2", 999.0, "psys")
    assert before.until(Counters.now(CPU, tmp_path), 5.0) == Energy(pytest.approx(32.5), None, "")


def test_a_counter_that_begins_anew(tmp_path):
    package(tmp_path, "intel-rapl:0", 262_140.0)
    before = Counters.now(CPU, tmp_path)
    package(tmp_path, "intel-rapl:0", 5.0)
    after = Counters.now(CPU, tmp_path)
    assert before.until(after, 5.0).processors == pytest.approx(8.0)
    long = before.until(after, 3600.0)
    assert long.processors is None
    assert long.why == "it took so long that a counter may have begun anew more than once"


@pytest.mark.parametrize("text", ["", "many"])
def test_what_is_not_there_or_can_t_be_read_has_a_reason(tmp_path, text):
    nothing = Counters.now(CPU, tmp_path)
    assert nothing.until(nothing, 5.0) == Energy(None, None, "the system has no counters of the processors (RAPL)")
    (package(tmp_path, "intel-rapl:0", 1.0) / "energy_uj").write_text(text)
    assert Counters.now(CPU, tmp_path).why.startswith("the counters of the processors can't be read: ")
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()
    assert Counters.now(CPU, tmp_path).why == "the counters of the processors can't be read: Is a directory"


class Library:
    """NVML, as far as it is asked."""

    def __init__(self, millijoules: int, *, supported: bool = True) -> None:
        self.millijoules, self.supported, self.asked = millijoules, supported, []

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):
        self.asked.append(uuid)
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, found):
        ctypes.cast(found, ctypes.POINTER(ctypes.c_ulonglong))[0] = self.millijoules
        return 0 if self.supported else 3


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234-ab"))

    def use(library):
        monkeypatch.setattr(energy, "_nvml", lambda: library)
        return torch.device("cuda:1")

    return use


def test_the_gpu_of_the_job(tmp_path, gpu):
    library = Library(5_000)
    device = gpu(library)
    before = Counters.now(device, tmp_path)
    library.millijoules = 12_500
    found = before.until(Counters.now(device, tmp_path), 5.0)
    assert (found.processors, found.gpu) == (None, 7.5)
    assert library.asked == [b"GPU-1234-ab"] * 2
    assert found.why == "the system has no counters of the processors (RAPL)"


@pytest.mark.parametrize("library", [None, Library(5, supported=False)])
def test_a_gpu_that_counts_none(tmp_path, gpu, library):
    package(tmp_path, "intel-rapl:0", 1.0)
    found = Counters.now(gpu(library), tmp_path)
    assert found.until(found, 5.0) == Energy(0.0, None, "NVML counts none of this GPU")


def test_the_fields_of_a_row():
    found = Energy(3.0, None, "NVML counts none of this GPU")
    assert found.fields(2.0, alone=True) == {
        "energy.processors": 3.0,
        "energy.gpu": None,
        "no_energy": "NVML counts none of this GPU",
    }
    for fields, why in (
        (found.fields(2.0, alone=False), "other work ran on the machine"),
        (found.fields(0.1, alone=True), "it took less than 0.2 s, for which counters are too coarse"),
    ):
        assert fields == {"energy.processors": None, "energy.gpu": None, "no_energy": why}
    assert Energy(why="no counters").fields(0.1, alone=False)["no_energy"] == "no counters"


def test_evaluations_are_no_part_of_it():
    whole = Energy(10.0, 5.0)
    assert whole.plus(Energy(2.0, 1.5), -1) == Energy(8.0, 3.5)
    assert whole.plus(Energy(None, 1.5, "why"), -1) == Energy(None, 3.5, "why")
    assert Energy(0.0, 0.0).plus(Energy(2.0, None)) == Energy(2.0, None)


@pytest.mark.parametrize(("others", "waited", "alone"), [(0.5, 0, True), (1.5, 0, False), (0, 3, False)])
def test_alone_is_stricter_than_uncontended(others, waited, alone):
    """On a machine with many processors a tenth of all would be much."""
    before, after = Load(0, 0, 0, 0), Load(10, 10, waited, 10 + others)
    assert before.alone(after, processors=64) is alone


def test_the_trials_of_a_search_together():
    known = [{"energy.processors": 2.0, "energy.gpu": None, "no_energy": ""}] * 3
    assert _energy(known) == {"energy.processors": 6.0, "energy.gpu": None, "no_energy": ""}
    some = [*known, {"energy.processors": None, "energy.gpu": None, "no_energy": "other work"}]
    assert _energy(some) == {"energy.processors": None, "energy.gpu": None, "no_energy": "other work"}
    assert _energy([{}])["energy.processors"] is None
