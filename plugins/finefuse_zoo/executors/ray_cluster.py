"""`ray`: jobs on the machines of a Ray cluster, each carried out there as `local` would."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from queue import SimpleQueue
from typing import Annotated, Any, ClassVar, TypeVar

from annotated_types import Ge

from finefuse import FinefuseError, WorkerDied
from finefuse.types import Crew, Record
from finefuse_zoo.executors._ray_bench import Bench
from finefuse_zoo.executors._worker import packed, refused

Order = TypeVar("Order")
LOOK = 5.0
"""Seconds after which a worker that has no machine yet looks whether there still is one for it."""
HERE = "local"
"""The address of a cluster that is started on this machine for one run."""


@dataclass(frozen=True)
class RayCluster:
    """Workers placed by Ray: each has as many processors as a job has threads, on any machine that has them free.

    `address` is that of a running cluster, "auto" the one that this machine belongs to, "local" a new one on this
    machine alone. All machines need the same versions of finefuse, of plugins and of torch, the artifacts' folder at
    the same place, and a processor of the same kind as this one's, or a portable suite: a machine whose bits would
    differ is refused. A job whose machine is lost is tried again elsewhere, `tries` times in all; one that fails by
    itself is not. Limits, isolation and clean-up are those of `local`. `gpus` is each worker's share of a GPU. It needs
    ray: `pip install 'finefuse[ray]'`.
    """

    address: str = "auto"
    gpus: Annotated[float, Ge(0)] = 0.0
    tries: Annotated[int, Ge(1)] = 3
    parallel: ClassVar[bool] = True

    def room(self, threads: int) -> int:
        """How many jobs at a time the machines have room for.

        Raises:
            FinefuseError: if there is no such cluster, or none with room for a job.
        """
        nodes = [node["Resources"] for node in _connected(self.address).nodes() if node["Alive"]]
        found = sum(int(min(_jobs(node, "CPU", threads), _jobs(node, "GPU", self.gpus))) for node in nodes)
        if not found:
            share = f" and {self.gpus:g} of a GPU" if self.gpus else ""
            raise FinefuseError(f"no machine of the Ray cluster has {threads} processors{share} for a job")
        return found

    def start(self, crew: Crew) -> None:
        """Connect to the cluster; a worker is placed with its first job."""
        self._teams.append(_Team(crew, self, _connected(self.address)))

    def submit(self, call: Callable[[Order], Record], order: Order, seconds: float) -> Future[Record]:
        """Carry out `call(order)` on one of the machines as soon as a worker is free.

        The future raises what that of `local` would, and `WorkerDied` if the machines of all tries were lost.
        """
        team = self._teams[-1]
        try:
            parcel = packed(team.crew, call, order)
        except Exception as error:
            return refused(error)
        return team.submit(parcel, seconds)

    def stop(self) -> None:
        """End all workers and what they started, and the cluster if it is this run's own."""
        while self._teams:
            self._teams.pop().stop()
        if self.address == HERE and "ray" in sys.modules:
            import ray

            ray.shutdown()

    @cached_property
    def _teams(self) -> list[_Team]:
        return []


class _Team:
    """A thread for each job under way, and as many places for workers, each of which is filled when it is needed."""

    def __init__(self, crew: Crew, executor: RayCluster, ray: Any) -> None:
        self.crew, self._executor, self._ray = crew, executor, ray
        self._parcel = pickle.dumps(replace(crew, together=None))  # which is asked here
        self._kind = dict(crew.kind()) if crew.kind else {}
        self._free: SimpleQueue[Any] = SimpleQueue()
        self._alive: list[Any] = []
        self._lock, self._stopping, self._places = threading.Lock(), threading.Event(), crew.workers
        for _ in range(crew.workers):
            self._free.put(None)
        self._threads = ThreadPoolExecutor(crew.workers, "finefuse-ray")

    def submit(self, parcel: bytes, seconds: float) -> Future[Record]:
        return self._threads.submit(self._carry_out, parcel, seconds)

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            for bench in self._alive:
                self._ray.kill(bench)
            for _ in range(self.crew.workers):
                self._free.put(None)
        self._threads.shutdown(cancel_futures=True)

    def _carry_out(self, parcel: bytes, seconds: float) -> Record:
        for _ in range(self._executor.tries):
            bench = None
            try:
                bench = self._worker()
                return self._answer(bench, parcel, seconds)
            except self._ray.exceptions.RayActorError as error:
                if bench is not None:
                    self._lose(bench)
                bench, lost = None, error
            finally:
                self._free.put(bench)
        raise WorkerDied(f"{self._executor.tries} machines in turn were lost: {_first_line(lost)}")

    def _answer(self, bench: Any, parcel: bytes, seconds: float) -> Record:
        result, error = pickle.loads(self._ray.get(bench.call.remote(parcel, seconds)))
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def _worker(self) -> Any:
        """A worker that is free, or a new one in a place that is; where machines are gone, there are fewer places.

        Raises:
            WorkerDied: if the run was stopped, or no machine is left, or a new worker's is of another kind.
        """
        while True:
            bench = self._free.get()
            if self._stopping.is_set():
                raise WorkerDied("the run was stopped")
            if bench is None:
                bench = self._placed()
            if bench is not None:
                return bench

    def _placed(self) -> Any:
        """A new worker, on a machine that gives this one's bits; None where there is no room for it any more."""
        wanted = {"num_cpus": self.crew.threads, "num_gpus": self._executor.gpus, "scheduling_strategy": "SPREAD"}
        with self._lock:
            if self._stopping.is_set():
                raise WorkerDied("the run was stopped")
            made = self._ray.remote(**wanted)(Bench).remote(self._parcel)
            self._alive.append(made)
        try:
            there = self._kind_of(made)
            if there is not None and (different := _differences(self._kind, there)):
                raise WorkerDied(
                    f"a machine of the Ray cluster would give other bits than this one, {different}; "
                    "use machines of one kind, or set portable = true in the suite"
                )
        except BaseException as error:
            self._lose(made)
            if isinstance(error, FinefuseError):
                raise WorkerDied(str(error)) from None
            raise
        if there is None:
            self._lose(made)
            return None
        return made

    def _kind_of(self, made: Any) -> Mapping[str, str] | None:
        """What a new worker says of its machine, as soon as it has one; None where its place is given up."""
        asked = made.kind.remote()
        while True:
            try:
                return dict(self._ray.get(asked, timeout=LOOK))
            except self._ray.exceptions.GetTimeoutError:
                with self._lock:
                    if self._places > self._executor.room(self.crew.threads):
                        self._places -= 1
                        return None

    def _lose(self, bench: Any) -> None:
        self._ray.kill(bench)
        with self._lock:
            self._alive.remove(bench)


def _connected(address: str) -> Any:
    """Ray, connected to a cluster.

    Raises:
        FinefuseError: if there is none.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if not ray.is_initialized():
        own = {name: value for name, value in os.environ.items() if name.startswith("FINEFUSE_")}
        path = os.pathsep.join(entry for entry in sys.path if entry)
        try:
            ray.init(
                address=address,
                log_to_driver=True,
                logging_level="warning",
                include_dashboard=False if address == HERE else None,
                runtime_env={"env_vars": {**own, "PYTHONPATH": path}},
            )
        except (ConnectionError, ValueError) as error:
            raise FinefuseError(f"no Ray cluster answers at address {address!r}: {_first_line(error)}") from None
    elif address not in ("auto", HERE, here := ray.get_runtime_context().gcs_address):
        raise FinefuseError(f"this process is connected to the Ray cluster at {here} already, not to {address!r}")
    return ray


def _jobs(resources: Mapping[str, float], name: str, each: float) -> float:
    """How many times `each` of a resource a machine has."""
    return resources.get(name, 0.0) // each if each else float("inf")


def _differences(here: Mapping[str, str], there: Mapping[str, str]) -> str:
    names = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
    return "; ".join(
        f"{name} is {there.get(name) or 'nothing'} and here {here.get(name) or 'nothing'}" for name in names
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
