"""The law: a row's bits don't depend on which jobs its worker did before, whatever plugins do to their process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PLUGINS = Path(__file__).parents[1] / "fixtures" / "plugins"
MEDDLERS, RUDE = PLUGINS / "meddlers.py", PLUGINS / "rude.py"
SUITE = """
name      = "street"
seeds     = [0, 1]
budget    = {{ epochs = 2, batch_size = 16 }}
datasets  = ["points"]
backbones = ["tiny"]
metrics   = ["accuracy", "nll"]
schemes   = [{schemes}]
fusions   = [{fusions}]
latency   = []

[pools]
all = {{ of = ["full", "head-sgd"] }}
"""
FAILING = (
    *("train_inputs", "val_targets", "by_numpy", "by_data", "dtype", "grad", "threads", "deterministic", "loss"),
    *("body_of_a_function", "layer", "trainer", "clock", "hook", "budget", "spent", "fit", "loop"),
)
HARMLESS = ("surroundings", "haunt")


@pytest.mark.timeout(900)
def test_neighbours_have_the_same_bits_with_and_without_meddlers(
    new_place: Callable[[], Any], tiny: str, lasting: Callable[[Any], Any]
) -> None:
    """The meddlers come first in the plan, so that every worker has had some of them."""
    meddlers = [f'{{ use = "meddles", as = "{what}", what = "{what}" }}' for what in (*FAILING, *HARMLESS)]
    calm = SUITE.format(schemes='"remembers", "full", "head-sgd"', fusions='"soup"')
    street = SUITE.format(
        schemes=", ".join([*meddlers, '"remembers"', '"full"', '"head-sgd"']), fusions='"centres", "soup"'
    )
    found = []
    for text, workers, more in ((calm, 1, ()), (street, 1, ("--plugin", RUDE)), (street, 2, ("--plugin", RUDE))):
        place, plugins = new_place(), ("--plugin", tiny, "--plugin", MEDDLERS, *more)
        place.write("street.toml", text)
        outcome = place.run("run", "street.toml", *plugins, "--device", "cpu", "--workers", workers)
        put_back = (
            "a plugin that was imported changed torch's default dtype, torch.nn.functional.relu; this is put back"
        )
        assert (put_back in outcome.err) == bool(more)
        assert place.empty(), place.processes()
        found.append({row["cell"]: lasting(row) for row in place.rows("results/street")})
    alone, *others = found
    assert {row["status"] for row in alone.values()} == {"ok"}
    for rows in others:
        assert {cell: rows[cell] for cell in alone} == alone
        the_culprits_fail(list(rows.values()))


def the_culprits_fail(rows: list[dict[str, Any]]) -> None:
    status = {(row["label"], row["seed"]): row["status"] for row in rows if row["label"] in (*FAILING, "centres")}
    assert set(status.values()) == {"failed"}
    assert len(status) == 2 * (len(FAILING) + 1)
    assert {row["figure.seen"] for row in rows if row["label"] == "remembers"} == {1.0}
    assert {row["status"] for row in rows if row["label"] in HARMLESS} <= {"ok", "failed"}  # a ghost may be seen
