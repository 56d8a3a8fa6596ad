"""The processes of the executor `local`."""

from __future__ import annotations

import psutil


def workers_of(pid: int) -> list[int]:
    """The servers of `local`, and whatever is below them."""
    servers = [child for child in psutil.Process(pid).children() if "executors._server" in " ".join(child.cmdline())]
    return [process.pid for server in servers for process in (server, *server.children(recursive=True))]
