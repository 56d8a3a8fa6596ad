"""The command line, called in this process."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from finefuse.cli import main


class Outcome(NamedTuple):
    """The exit code and what was printed."""

    code: object
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Call a verb."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return Outcome(ended.value.code, *capsys.readouterr())
