"""What a job prints, kept beside the records too: the end of it, in a file of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TextIO, cast

MOST = 64 * 2**10
"""Bytes from which on the beginning of a log is cut off."""
KEPT = 32 * 2**10
"""Bytes at its end that are kept then."""
CUT = b"... what came before was cut off\n"


@contextmanager
def kept_output(path: str) -> Iterator[None]:
    """Write what Python code prints in a block to a file too, made when there is something; "" for no file.

    The file is opened for each text, so that it is whole when the process is killed, and a job that closes what it
    didn't open closes nothing of it. What other programs and compiled code write goes to stderr alone.
    """
    with ExitStack() as streams:
        if path:
            log = _Log(Path(path))
            streams.callback(log.end)
            for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
                if stream is not None:
                    streams.enter_context(redirect(cast(TextIO, _Both(stream, log))))
        yield


class _Log:
    """The file; what was there before, of an earlier attempt, is removed."""

    def __init__(self, path: Path) -> None:
        self._path, self._ended = path, False
        self.trouble = ""
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)

    def add(self, text: str) -> None:
        """Write a text at its end; once that is impossible, or the job is over, nothing more."""
        if self.trouble or self._ended or not text:
            return
        try:
            self._path.parent.mkdir(exist_ok=True)
            with self._path.open("ab") as file:
                file.write(text.encode("utf-8", "backslashreplace")[-MOST - 1 :])
                long = file.tell() > MOST
            if long:
                self._path.write_bytes(CUT + self._path.read_bytes()[-KEPT:])
        except OSError as error:
            self._give_up(error)

    def end(self) -> None:
        """Take nothing more, as from a handler that outlives the job; say on stderr if the file could not be kept."""
        self._ended = True
        if self.trouble and sys.stderr is not None:
            print(self.trouble, file=sys.stderr)

    def _give_up(self, error: OSError) -> None:
        self.trouble = f"{self._path}: what the job prints can't be kept: {error.strerror or error}"


class _Both:
    """A stream whose texts are kept too; in all else it is the stream."""

    def __init__(self, stream: TextIO, log: _Log) -> None:
        self._stream, self._log = stream, log

    def write(self, text: str) -> int:
        """Write to both."""
        written = self._stream.write(text)
        self._log.add(text)
        return written

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts to both."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
