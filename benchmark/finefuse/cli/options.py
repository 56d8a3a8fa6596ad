"""What several verbs share: options, and the kinds of plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from finefuse.errors import FinefuseError, did_you_mean
from finefuse.types import PluginKind

SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="Name of a suite (see `list suites`) or a TOML file.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="DOOR", help="A file.py or module to use as a plugin; repeatable."),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="PATTERN", help="Only these schemes and fusions, such as 'lp-*'; repeatable."),
]
Device = Annotated[str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the results.  [default: results/SUITE]")]
Store = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the artifacts.  [default: $FINEFUSE_STORE or a user cache]"),
]

Portable = Annotated[
    bool, typer.Option("--portable", help="Pin the instruction set to AVX2: the same bits on other machines.")
]
Workers = Annotated[
    int | None,
    typer.Option(metavar="N", help="Jobs at a time; 0 for no other processes.  [default: one per core or GPU]"),
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Keep the reports current on the way, and tell the best lines so far.")
]
Executor = Annotated[
    str | None, typer.Option(metavar="NAME", help="What carries out the jobs, as 'name' or 'name(key=value)'.")
]
Reporters = Annotated[
    list[str] | None,
    typer.Option(
        "--reporter",
        metavar="NAME",
        help="Only these reports, as 'name' or 'name(key=value)', or none; repeatable.",
    ),
]

Observers = Annotated[
    list[str] | None,
    typer.Option("--observer", metavar="NAME", help="What follows the run, as 'name(key=value)'; repeatable."),
]

Alpha = Annotated[float | None, typer.Option(metavar="P", min=0, max=1, help="Chance of a false alarm over all tests.")]
Margin = Annotated[
    str | None, typer.Option(metavar="LIMIT", help="A change of a metric that doesn't matter: 0.5pp, 1%, 0.01.")
]
Resolve = Annotated[
    str | None, typer.Option(metavar="LIMIT", help="Fail unless such a loss in all cells would have been caught.")
]
FailOn = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MEASURE:LIMIT", help="How much worse doesn't matter: accuracy:0.5pp, flops:0, train_s:20%; repeatable."
    ),
]
Fatal = Annotated[
    list[str] | None, typer.Option(metavar="JUDGEMENT", help="Fail on new or inconclusive too; repeatable.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD", help="Don't fail on not-comparable, missing, failed, settings, versions or plan; repeatable."
    ),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="FORMAT[=FILE]",
        help="text, markdown, json, junit, github, bencher, gh-benchmark or pytest-benchmark; repeatable.",
    ),
]

KINDS: tuple[PluginKind, ...] = get_args(PluginKind)


NONE = "none"
"""The word for no reports at all."""


def parse_kind(text: str, also: tuple[str, ...] = ()) -> str:
    """A kind of plugin, or one of the words in `also`, given in the singular or the plural.

    Raises:
        FinefuseError: with the nearest kind, for another word.
    """
    kinds = (*KINDS, *also)
    for kind in kinds:
        if text in (kind, f"{kind}s"):
            return kind
    hint = did_you_mean(text.removesuffix("s"), kinds) or f"; expected one of {', '.join(kinds)}"
    raise FinefuseError(f"there is no kind of plugin {text!r}{hint}")


def reporters(texts: list[str] | None) -> list[str] | None:
    """The value of `--reporter`: None for the suite's choice, and [] for `none`.

    Raises:
        FinefuseError: if `none` is given with others.
    """
    if texts and NONE in texts:
        if len(texts) > 1:
            raise FinefuseError(f"--reporter {NONE} means no reports, but others are given too")
        return []
    return texts or None
