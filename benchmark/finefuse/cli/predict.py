"""`finefuse predict RUN ROW INPUTS`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.options import Plugins, Store
from finefuse.cli.printing import complain, say


def predict(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A results folder, such as results/quick.")],
    row: Annotated[str, typer.Argument(metavar="ROW", help="A strategy's label, such as soup, or a row's whole cell.")],
    inputs: Annotated[
        Path, typer.Argument(metavar="INPUTS", help="An image, a folder of them, a table, or an .npy file.")
    ],
    to: Annotated[Path | None, typer.Option("--to", metavar="FILE", help="File to write.  [default: stdout]")] = None,
    pool: Annotated[str | None, typer.Option(metavar="NAME", help="Which pool, where several have the label.")] = None,
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="Which data set.")] = None,
    backbone: Annotated[str | None, typer.Option(metavar="NAME", help="Which backbone.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Which seed.  [default: the first]")] = None,
    round_: Annotated[int | None, typer.Option("--round", metavar="N", help="Which round, from 0.")] = None,
    task: Annotated[str | None, typer.Option(metavar="NAME", help="Which task, of a pool across data sets.")] = None,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Where to compute.  [default: where it was run]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    plugin: Plugins = None,
    store: Store = None,
) -> None:
    """Predict labels or values for new inputs, as CSV."""
    import finefuse
    from finefuse.errors import FinefuseError
    from finefuse.files import write_whole

    if to is not None and to.exists() and not force:
        raise FinefuseError(f"{to}: exists already; --force writes over it.")
    found = finefuse.predict(
        folder,
        row,
        inputs,
        pool=pool,
        dataset=dataset,
        backbone=backbone,
        seed=seed,
        round=round_,
        task=task,
        device=device,
        plugins=plugin or (),
        store=store,
    )
    if to is None:
        say(found.to_csv().rstrip("\n"))
    else:
        try:
            to.parent.mkdir(parents=True, exist_ok=True)
            write_whole(to, found.to_csv())
        except OSError as error:
            raise FinefuseError(f"can't write {to}: {error.strerror or error}") from None
        complain(f"{len(found.rows)} predictions are in {to}.")
