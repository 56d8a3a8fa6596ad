"""What of the processor decides the bits: found in files of the system, and held against what torch says it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from finefuse import FinefuseError, processor
from finefuse.processor import (
    PINNED,
    Processor,
    instruction_sets,
    refuse_changed,
    refuse_unpinnable,
    refuse_unpinned,
)
from helpers.processors import AVX2, AVX512, M1, NEW, OLD, XEON

ARM = Processor("aarch64", "0x41 0xd40", frozenset({"asimd", "sve"}), x86=False)
SILENT = Processor("Some CPU")


def used(of: Processor, precision: str = "fp32", **environ: str) -> dict[str, str]:
    """The instruction sets by library, in short."""
    return {name.removeprefix("instruction set of "): v for name, v in instruction_sets(of, environ, precision).items()}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The processor of a machine whose /proc/cpuinfo says this, None for one without."""

    def read(text: str | None, machine: str = "x86_64", system: str = "linux") -> Processor:
        info = tmp_path / "cpuinfo"
        info.unlink(missing_ok=True)
        if text is not None:
            info.write_text(text)
        monkeypatch.setattr(processor, "CPUINFO", info)
        monkeypatch.setattr("platform.machine", lambda: machine)
        monkeypatch.setattr("platform.processor", lambda: "what Python says")
        monkeypatch.setattr(sys, "platform", system)
        return processor.processor.__wrapped__()

    return read


# --------------------------------------------------------------------------------------------------- the processor


def test_the_first_processor_of_the_system_s_list_is_read(found) -> None:
    one = "processor\t: 0\nvendor_id\t: {}\nmodel name\t: Some CPU 9000\nflags\t\t: fpu avx avx2 fma\n\n"
    text = one.format("AuthenticAMD") + one.format("AuthenticAMD").replace("avx2", "none")
    assert found(text) == Processor("Some CPU 9000", "AMD", frozenset({"fpu", "avx", "avx2", "fma"}))
    assert found(one.format("GenuineIntel")).vendor == "Intel"
    assert found(one.format("HygonGenuine")).vendor == "HygonGenuine"


def test_arm_has_features_and_a_part_in_place_of_flags_and_a_name(found) -> None:
    text = "processor\t: 0\nFeatures\t: asimd sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"
    assert found(text, "aarch64") == Processor("what Python says", "0x41 0xd40", ARM.flags, x86=False)


def test_without_a_list_there_is_only_a_name(found, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(None) == Processor("what Python says")
    monkeypatch.setattr(processor, "_sysctl", {"machdep.cpu.brand_string": "Apple M1"}.__getitem__)
    assert found(None, "arm64", "darwin") == M1
    monkeypatch.setattr(processor, "_sysctl", lambda name: "")
    assert found(None, "arm64", "darwin").name == "arm64"


def test_a_system_without_sysctl_has_no_such_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert processor._sysctl("machdep.cpu.brand_string") == ""


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        (AVX512, "AVX-512"),
        (AVX512 - {"avx512vl"}, "AVX2"),
        (AVX2, "AVX2"),
        (AVX2 - {"fma"}, "AVX"),
        ({"sse4_1", "avx"}, "AVX"),
        ({"sse4_1"}, "SSE4"),
        ({"sse2"}, "none"),
    ],
)
def test_a_level_needs_all_that_the_libraries_ask_for(flags: frozenset[str], level: str) -> None:
    assert Processor("x", "AMD", frozenset(flags)).level == level


# ------------------------------------------------------------------------------------------- what the libraries use


def test_two_processors_of_one_name_differ_by_what_they_can() -> None:
    assert OLD.name == NEW.name
    assert used(OLD) == {"torch": "AVX2", "oneDNN": "AVX2", "MKL": "AVX2 on AMD"}
    assert used(NEW) == {"torch": "AVX-512", "oneDNN": "AVX-512", "MKL": "AVX2 on AMD"}
    assert used(XEON) == {"torch": "AVX-512", "oneDNN": "AVX-512", "MKL": "AVX-512 on Intel"}


@pytest.mark.parametrize(
    ("of", "environ", "library", "expected"),
    [
        (NEW, {"ATEN_CPU_CAPABILITY": "avx2"}, "torch", "AVX2"),
        (NEW, {"ATEN_CPU_CAPABILITY": "AVX2"}, "torch", "AVX-512"),  # torch takes small letters only
        (NEW, {"ATEN_CPU_CAPABILITY": "default"}, "torch", "none"),
        (Processor("x", "AMD", frozenset({"sse4_1", "avx"})), {}, "torch", "none"),
        (NEW, {"ONEDNN_MAX_CPU_ISA": "AVX2"}, "oneDNN", "AVX2"),
        (NEW, {"ONEDNN_MAX_CPU_ISA": "avx2_vnni"}, "oneDNN", "AVX2"),
        (NEW, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}, "oneDNN", "AVX-512"),
        (NEW, {"ONEDNN_MAX_CPU_ISA": "nonsense"}, "oneDNN", "AVX-512"),
        (NEW, {"ONEDNN_MAX_CPU_ISA": "SSE41"}, "oneDNN", "SSE4"),
        (OLD, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, "oneDNN", "AVX2"),
        (NEW, {"DNNL_MAX_CPU_ISA": "AVX"}, "oneDNN", "AVX"),
        (NEW, {"DNNL_MAX_CPU_ISA": "AVX", "ONEDNN_MAX_CPU_ISA": "AVX2"}, "oneDNN", "AVX2"),
        (XEON, {"MKL_CBWR": "AVX2"}, "MKL", "AVX2 on Intel, reproducible"),
        (XEON, {"MKL_CBWR": "avx2,strict"}, "MKL", "AVX2 on Intel, reproducible and strict"),
        (XEON, {"MKL_CBWR": "AVX512_E1"}, "MKL", "AVX-512 on Intel, reproducible"),
        (XEON, {"MKL_CBWR": "SSE4_2"}, "MKL", "SSE4 on Intel, reproducible"),
        (XEON, {"MKL_CBWR": "OFF"}, "MKL", "AVX-512 on Intel"),
        (NEW, {"MKL_CBWR": "AVX512"}, "MKL", "AVX2 on AMD, reproducible"),
        (NEW, {"MKL_CBWR": "COMPATIBLE"}, "MKL", "compatible"),
        (XEON, {"MKL_CBWR": "COMPATIBLE"}, "MKL", "compatible"),
        (Processor("x", "", AVX2), {}, "MKL", "AVX2 on a processor of no known vendor"),
    ],
)
def test_variables_of_the_environment_are_understood_as_by_the_libraries(
    of: Processor, environ: Mapping[str, str], library: str, expected: str
) -> None:
    assert used(of, **environ)[library] == expected


def test_pinned_processors_of_one_vendor_are_alike_and_others_are_not() -> None:
    assert used(OLD, **PINNED) == used(NEW, **PINNED)
    assert used(NEW, **PINNED) == {"torch": "AVX2", "oneDNN": "AVX2", "MKL": "AVX2 on AMD, reproducible"}
    assert used(XEON, **PINNED) != used(NEW, **PINNED)


def test_what_only_bfloat16_uses_counts_only_for_it() -> None:
    better = Processor("AMD EPYC", "AMD", AVX512 | {"avx512_bf16", "amx_bf16", "amx_tile"})
    assert used(better) == used(NEW)
    assert used(better, "bf16")["instructions for bf16"] == "avx512_bf16 amx_tile amx_bf16"
    assert used(NEW, "bf16")["instructions for bf16"] == ""
    assert used(NEW, "bf16", ONEDNN_MAX_CPU_ISA="AVX512_CORE") != used(NEW, "bf16")


@pytest.mark.parametrize("name", processor.OTHERS)
def test_other_variables_that_may_change_results_count_as_they_are(name: str) -> None:
    assert used(NEW, **{name: "BF16"})[name] == "BF16"
    assert name not in used(NEW, **{name: ""})


def test_where_no_level_is_known_all_that_is_known_counts() -> None:
    assert used(ARM, ATEN_CPU_CAPABILITY="default") == {
        "instruction set": "0x41 0xd40 asimd sve",
        "ATEN_CPU_CAPABILITY": "default",
    }
    assert used(M1) == {"instruction set": "unknown, Apple M1"}
    assert used(SILENT) == {"instruction set": "unknown, Some CPU"}


def test_torch_says_what_was_found_for_it() -> None:
    names = {"AVX512": "AVX-512", "AVX2": "AVX2", "DEFAULT": "none"}
    found = instruction_sets(processor.processor(), os.environ)
    if "instruction set of torch" not in found:
        pytest.skip("no x86-64 processor whose instructions are known")
    assert found["instruction set of torch"] == names[torch.backends.cpu.get_cpu_capability()]


def test_the_models_of_gpus_are_those_that_the_driver_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "GPUS", tmp_path)
    assert processor.gpu_models() == []
    for number, model in enumerate(["Tesla T4", "NVIDIA H100 80GB HBM3", "Tesla T4"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 7\n")
    assert processor.gpu_models() == ["NVIDIA H100 80GB HBM3", "Tesla T4"]


# ----------------------------------------------------------------------------------------------------- refusals


def test_a_processor_with_avx2_can_be_pinned() -> None:
    for of in (OLD, NEW, XEON):
        refuse_unpinnable(of)


@pytest.mark.parametrize(
    ("of", "knows"),
    [
        (Processor("Celeron", "Intel", frozenset({"sse4_1"})), "has SSE4"),
        (Processor("A", "AMD", AVX2 - {"fma"}), "has AVX"),
        (ARM, "is not known to have it"),
        (M1, "is not known to have it"),
        (SILENT, "is not known to have it"),
    ],
)
def test_another_one_is_refused_in_a_sentence(of: Processor, knows: str) -> None:
    with pytest.raises(FinefuseError) as caught:
        refuse_unpinnable(of)
    told = f"portable results need an x86-64 processor with AVX2, and this one ({of.name}) {knows}"
    assert str(caught.value) == told


def test_a_process_that_was_not_started_with_the_variables_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PINNED.items():
        monkeypatch.setenv(name, value)  # too late
    monkeypatch.setattr(processor, "_at_start", lambda: {**PINNED, "MKL_CBWR": "AVX512"})
    with pytest.raises(FinefuseError, match="a process that was started with MKL_CBWR=AVX2; the executor local"):
        refuse_unpinned()
    monkeypatch.setattr(processor, "_at_start", lambda: PINNED)
    refuse_unpinned()


def test_the_environment_at_the_start_is_the_system_s_word_not_python_s() -> None:
    script = (
        "import os; from finefuse import processor; os.environ.update(processor.PINNED, MKL_CBWR='AVX512')\n"
        "for check in (processor.refuse_unpinned, processor.refuse_changed):\n"
        "    try: check()\n"
        "    except Exception as error: print(error)\n"
    )

    def said(**more: str) -> list[str]:
        env = {name: value for name, value in os.environ.items() if name not in PINNED} | more
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    unpinned, changed = said()
    assert "ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=AVX2" in unpinned
    assert changed.startswith("ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY and MKL_CBWR changed since")
    (changed,) = said(**PINNED)
    assert changed.startswith("MKL_CBWR changed since this process started")


def test_unchanged_variables_are_fine_and_a_system_that_hides_them_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refuse_changed()

    class Hidden:
        def environ(self) -> dict[str, str]:
            raise processor.psutil.AccessDenied

    monkeypatch.setattr(processor.psutil, "Process", Hidden)
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    refuse_changed()
