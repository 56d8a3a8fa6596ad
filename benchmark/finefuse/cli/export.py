"""`finefuse export RUN ROW --to FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from finefuse.cli.options import Plugins, Store
from finefuse.cli.printing import complain, say


def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A results folder, such as results/quick.")],
    row: Annotated[str, typer.Argument(metavar="ROW", help="A strategy's label, such as soup, or a row's whole cell.")],
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="File to write; .pt2, .onnx or .safetensors.")],
    pool: Annotated[str | None, typer.Option(metavar="NAME", help="Which pool, where several have the label.")] = None,
    dataset: Annotated[str | None, typer.Option(metavar="NAME", help="Which data set.")] = None,
    backbone: Annotated[str | None, typer.Option(metavar="NAME", help="Which backbone.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Which seed.  [default: the first]")] = None,
    round_: Annotated[int | None, typer.Option("--round", metavar="N", help="Which round, from 0.")] = None,
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which task, of a pool across data sets: one file for each.")
    ] = None,
    all_tasks: Annotated[
        bool, typer.Option("--all-tasks", help="One file for all tasks, with their outputs side by side.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="Where to fuse again.  [default: where it was run]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    plugin: Plugins = None,
    store: Store = None,
) -> None:
    """Write what a row measured to a file, with a model card.

    An ensemble is fused again from its members. Nothing is written unless it reproduces the outputs that were measured.
    """
    from finefuse import api

    made = api.export(
        folder,
        row,
        to,
        pool=pool,
        dataset=dataset,
        backbone=backbone,
        seed=seed,
        round=round_,
        task=task,
        all_tasks=all_tasks,
        device=device,
        force=force,
        plugins=plugin or (),
        store=store,
    )
    if made.note:
        complain(made.note)
    say(made.file, made.card)
