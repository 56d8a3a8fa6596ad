"""`finefuse.predict`: which row and which inputs are meant. Imports no torch until they are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finefuse.deploy.wanted import find_row, find_task
from finefuse.device import resolve_device
from finefuse.discovery.registry import Door, Registry
from finefuse.engine.store.artifacts import default_store
from finefuse.errors import FinefuseError

if TYPE_CHECKING:
    from finefuse.deploy.predicting import Predictions


def predict(
    folder: str | Path,
    row: str,
    inputs: str | Path,
    *,
    pool: str | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    seed: int | None = None,
    round: int | None = None,  # noqa: A002 - it is called so in the rows
    task: str | None = None,
    device: str | None = None,
    plugins: Door | Sequence[Door] = (),
    store: str | Path | None = None,
) -> Predictions:
    """Predict labels or values for new inputs with what a row measured, ensembles too.

    Args:
        folder: a results folder.
        row: a row's cell, or a label, narrowed by the arguments below if several rows have it.
        inputs: what the data set reads, such as a folder of images or a table; or an array of inputs, a `.npy` file.
        pool: the pool that is fused.
        dataset: with its parameters or without.
        backbone: with its parameters or without.
        seed: None for the first.
        round: of a fusion with several, from 0.
        task: of a pool across data sets the one to predict.
        device: where to compute; None for the kind of device that the row was measured on.
        plugins: as in `run`.
        store: as in `run`.

    Raises:
        FinefuseError: if the model can't be had as it was measured, or the inputs can't be read.
    """
    narrow = {"dataset": dataset, "backbone": backbone, "pool": pool, "seed": seed, "round": round}
    found, _ = find_row(Path(folder), row, narrow)
    one, where = find_task(found, task), Path(inputs)
    if not where.exists():
        raise FinefuseError(f"{where}: there is no such file or folder.")
    doors = Registry(tuple(plugins) if isinstance(plugins, list | tuple) else (plugins,)).doors
    device = resolve_device(device or found["device"].split(":")[0])
    from finefuse.deploy.predicting import predictions

    place = Path(store or default_store()).absolute()
    return predictions(found, where, store=place, device=device, doors=doors, task=one)
