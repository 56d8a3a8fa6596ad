"""The command line: one file per verb. Each imports what it needs when it runs, so that `--help` stays quick."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from finefuse.cli.ab import ab
from finefuse.cli.calibrate import calibrate
from finefuse.cli.check import check
from finefuse.cli.check_plugin import check_plugin
from finefuse.cli.compare import compare
from finefuse.cli.export import export
from finefuse.cli.history import history
from finefuse.cli.list import list_
from finefuse.cli.matrix import matrix
from finefuse.cli.merge import merge
from finefuse.cli.new import new
from finefuse.cli.plan import plan
from finefuse.cli.plugins import plugins
from finefuse.cli.predict import predict
from finefuse.cli.printing import complain, keeps_stdout, say
from finefuse.cli.report import report
from finefuse.cli.run import run
from finefuse.cli.schema import schema
from finefuse.cli.show import show
from finefuse.cli.site import site
from finefuse.cli.verify import verify
from finefuse.errors import FinefuseError
from finefuse.version import __version__

app = typer.Typer(
    name="finefuse",
    help="Benchmark fine-tuning schemes and model-fusion methods. Start with: finefuse run quick",
    epilog="Exit codes: 0 success, 1 some rows failed or a gate didn't pass, 2 a mistake in the input.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich would double the time of --help
    pretty_exceptions_enable=False,
)
for verb in (
    run,
    plan,
    check,
    list_,
    show,
    report,
    merge,
    site,
    export,
    predict,
    plugins,
    schema,
    compare,
    history,
    ab,
    calibrate,
    matrix,
    verify,
    new,
    check_plugin,
):
    app.command(verb.__name__.strip("_").replace("_", "-"))(keeps_stdout(verb))


def _version(wanted: bool) -> None:
    if wanted:
        say(f"finefuse {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """What comes before the verb."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Carry out a command line (None: this process's) and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that can't draw a sign is no reason to fail
    code: int | str | None = 2
    try:
        app(arguments, prog_name="finefuse")
    except FinefuseError as error:
        complain(f"error: {error}")
    except SystemExit as ended:
        code = ended.code
    except OSError as error:
        if error.filename is not None:
            raise
        _say_lost(error)  # no file has the trouble, so it is the output
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # else the interpreter tries again at its end, and complains
        if not isinstance(error, BrokenPipeError):  # whoever was reading has seen enough
            code = _say_lost(error)
    sys.exit(code)


def _say_lost(error: OSError) -> int:
    complain(f"error: the output can't be written: {error.strerror or error}.")
    return 2
