"""What `finefuse export` writes gives, in a process that has no finefuse, the outputs that the suite measured."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from finefuse import Ref
from finefuse.engine.store.artifacts import Artifacts
from finefuse.engine.work.loading import splits_of

SUITE = """
name      = "export"
seeds     = [0]
budget    = { epochs = 2, batch_size = 16 }
datasets  = [{ use = "points", images = true }]
backbones = [{ use = "tiny", images = true }, { use = "tiny", images = true, pretrained = false }]
metrics   = ["accuracy"]
schemes   = ["full", "linear-probe"]
fusions   = ["stacking", "soup"]
latency   = []

[pools]
pair = { of = ["full", "linear-probe"] }
"""
EXPORTED = {
    "ensemble": ("stacking", "--backbone", "tiny(images=true)"),
    "soup": ("soup", "--backbone", "tiny(images=true)"),
    "alone": ("tune/points(images=true)/tiny(images=true, pretrained=false)/full//s0/m0/r0",),
}

ALONE = """
import sys


class NoFinefuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("finefuse", "finefuse_zoo"):
            raise ImportError(f"{name} is not installed here")


sys.meta_path.insert(0, NoFinefuse())
try:
    import finefuse
except ImportError:
    pass
else:
    raise AssertionError("finefuse can be imported")

from safetensors.torch import load_file, save_file

inputs = load_file("x.safetensors")["x"]
written = {}
for name in sys.argv[1:]:
    card = open(f"{name}.pt2.md").read()
    exec(card.split("```python\\n")[1].split("```")[0])
    assert len(outputs) == len(x) == 1  # the example of the card
    written[name] = model(inputs).detach().contiguous()
    written[f"{name} one by one"] = model(inputs[:1]).detach().contiguous()
save_file(written, "y.safetensors")
"""
"""Does what the model cards say, and then the same with the test inputs."""


@pytest.fixture(scope="module")
def exported(new_place: Callable[[], Any], tiny: str) -> Any:
    """A place where a suite was run, its test inputs in x.safetensors, and files as in EXPORTED."""
    place = new_place()
    outcome = place.call(
        "run",
        place.write("suite.toml", SUITE),
        "--plugin",
        tiny,
        "--device",
        "cpu",
        "--workers",
        0,
        "--out",
        "out",
        "-q",
    )
    assert outcome.code == 0, outcome.err
    for name, row in EXPORTED.items():
        outcome = place.call("export", "out", *row, "--to", f"{name}.pt2", "--plugin", tiny)
        assert (outcome.code, outcome.out) == (0, f"{name}.pt2\n{name}.pt2.md\n"), outcome.err
    x = splits_of((tiny,), Ref.of("points", images=True), 0, "cpu", str(place.store)).test.x
    save_file({"x": x}, place.folder / "x.safetensors")
    return place


def measured(place: Any, name: str) -> Tensor:
    """The test outputs that the store has of the row that was exported, by the artifact that the card names."""
    card = (place.folder / f"{name}.pt2.md").read_text()
    (artifact,) = re.findall(r"\*\*artifact\*\* `(\w+)`", card)
    return Artifacts(place.store).outputs(artifact)["test"]


def test_files_give_the_measured_outputs_without_finefuse(exported: Any, tmp_path: Path) -> None:
    for file in [*exported.folder.glob("*.pt2*"), exported.folder / "x.safetensors"]:
        (tmp_path / file.name).symlink_to(file)
    done = subprocess.run([sys.executable, "-c", ALONE, *EXPORTED], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outputs = load_file(tmp_path / "y.safetensors")
    for name in EXPORTED:
        expected = measured(exported, name)
        assert len(expected) == 90
        torch.testing.assert_close(outputs[name], expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(outputs[f"{name} one by one"], expected[:1], atol=1e-5, rtol=1e-5)
    assert not torch.equal(outputs["ensemble"], outputs["soup"])


def test_a_second_export_is_refused_and_changes_nothing(
    exported: Any, tiny: str, snapshot: Callable[[Path], dict[str, str]]
) -> None:
    before = snapshot(exported.folder)
    outcome = exported.call("export", "out", *EXPORTED["soup"], "--to", "soup.pt2", "--plugin", tiny)
    assert (outcome.code, outcome.out, outcome.err) == (
        2,
        "",
        "error: soup.pt2: exists already; --force writes over it.\n",
    )
    outcome = exported.call("export", "out", "soup", "--to", "other.pt2", "--plugin", tiny)
    assert outcome.code == 2
    assert outcome.err.startswith("error: 2 rows have the label 'soup', narrow it by --backbone: ")
    assert snapshot(exported.folder) == before


def test_without_the_suites_plugin_it_is_a_sentence(exported: Any) -> None:
    outcome = exported.call("export", "out", *EXPORTED["soup"], "--to", "other.pt2")
    assert outcome.code == 2
    assert re.fullmatch(r"error: .*(tiny|points).*\n", outcome.err)
