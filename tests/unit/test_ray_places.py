"""Places of the executor `ray`, on a cluster that is pretended: none is lost, and no job waits for ever."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from finefuse.errors import WorkerDied
from finefuse.types import Crew
from finefuse_zoo.executors.ray_cluster import RayCluster, _Team


class Lost(Exception):
    """As Ray tells of an actor that is no more, or never was."""


class Pretended:
    """What of Ray is asked, whose actors say `kind()` of their machine and answer every call with an empty row."""

    exceptions = SimpleNamespace(RayActorError=Lost, GetTimeoutError=TimeoutError)

    def __init__(self, kind: Callable[[], dict[str, str]]) -> None:
        self.kind, self.made, self.killed = kind, list[Any](), list[Any]()

    def remote(self, **_: object) -> Callable[[type], Any]:
        return lambda _: SimpleNamespace(remote=self.place)

    def place(self, _: bytes) -> Any:
        answer = SimpleNamespace(remote=lambda *_: lambda: pickle.dumps(({}, None)))
        self.made.append(SimpleNamespace(kind=SimpleNamespace(remote=lambda: self.kind), call=answer))
        return self.made[-1]

    def get(self, asked: Callable[[], Any], timeout: float = 0) -> Any:
        return asked()

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


def team(ray: Pretended) -> _Team:
    return _Team(Crew(workers=1, threads=1, memory=0), RayCluster(), ray)


def fails(error: Exception) -> dict[str, str]:
    raise error


def test_workers_that_die_as_they_start_cost_a_job_its_tries_and_no_more() -> None:
    ray = Pretended(lambda: fails(Lost("it has no finefuse\nand so on")))
    made = team(ray)
    for tried in (3, 6):
        with pytest.raises(WorkerDied, match=r"^3 machines in turn were lost: it has no finefuse$"):
            made.submit(b"", 1.0).result(60)
        assert len(ray.made) == len(ray.killed) == tried
    made.stop()


def test_a_place_is_there_for_the_next_job_whatever_its_worker_said() -> None:
    ray = Pretended(lambda: fails(ValueError("no such flag")))
    made = team(ray)
    with pytest.raises(ValueError, match="no such flag"):
        made.submit(b"", 1.0).result(60)
    ray.kind = dict
    assert made.submit(b"", 1.0).result(60) == {}
    assert ray.killed == ray.made[:1]
    made.stop()
    assert ray.killed == ray.made


def test_nothing_is_placed_once_the_run_was_stopped() -> None:
    ray = Pretended(dict)
    made = team(ray)
    made.stop()
    with pytest.raises(WorkerDied, match="the run was stopped"):
        made._placed()
    assert not ray.made
