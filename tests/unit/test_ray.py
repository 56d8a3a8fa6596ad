"""The executor `ray` on a real cluster of two nodes, which are processes of this machine."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import finefuse
from finefuse.errors import FinefuseError, MemoryExceeded, WorkerDied
from finefuse.records import Records
from finefuse.types import Crew
from helpers.crossing import TINY
from helpers.runs import FIXTURES
from helpers.waiting import eventually, gone

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

from finefuse_zoo.executors.ray_cluster import RayCluster  # noqa: E402

pytestmark = pytest.mark.slow
SUITE = {
    "name": "small",
    "seeds": [0, 1],
    "budget": {"epochs": 2},
    "datasets": [{"use": "points"}],
    "backbones": ["tiny"],
    "metrics": ["accuracy"],
    "schemes": ["full", "head-sgd"],
    "fusions": ["mean-probs", "soup"],
    "latency": [],
    "pools": {"all": {"of": "*"}},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that takes no jobs, and two nodes with one processor each, which can import `hostile`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "300")
        patch.syspath_prepend(str(FIXTURES))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            made.nodes_of_jobs = [made.add_node(num_cpus=1) for _ in range(2)]
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture
def started(hostile: Any, cluster: Any) -> Iterator[RayCluster]:
    executor = RayCluster(cluster.address)
    executor.start(Crew(workers=2, threads=1, memory=0))
    yield executor
    executor.stop()


def scores(folder: Path) -> list[Any]:
    rows, _ = Records(folder).read()
    return sorted((row["cell"], row["status"], str(row.get("scores"))) for row in rows)


def test_no_cluster_is_one_sentence() -> None:
    with pytest.raises(
        FinefuseError, match=r"^no Ray cluster answers at address 'auto': Could not find any running Ray"
    ):
        RayCluster().room(1)


def test_a_suite_has_the_scores_of_local_to_the_last_bit(cluster: Any, tmp_path: Path) -> None:
    given: dict[str, Any] = {"plugins": TINY, "device": "cpu"}
    finefuse.run(SUITE, out=tmp_path / "local", store=tmp_path / "one", workers=2, **given)
    at = f'ray(address="{cluster.address}")'
    made = finefuse.run(SUITE, out=tmp_path / "ray", store=tmp_path / "two", executor=at, **given)
    assert made.ok
    assert scores(tmp_path / "ray") == scores(tmp_path / "local")


def test_there_is_room_for_a_job_on_each_processor(cluster: Any) -> None:
    assert RayCluster(cluster.address).room(1) == 2
    with pytest.raises(FinefuseError, match="no machine of the Ray cluster has 2 processors for a job"):
        RayCluster(cluster.address).room(2)
    with pytest.raises(FinefuseError, match=r"1 processors and 0\.5 of a GPU for a job"):
        RayCluster(cluster.address, gpus=0.5).room(1)
    with pytest.raises(FinefuseError, match=f"is connected to the Ray cluster at {cluster.address} already, not to "):
        RayCluster("127.0.0.1:1").room(1)


def test_jobs_are_held_to_their_limits_as_by_local(started: RayCluster, hostile: Any) -> None:
    error = started.submit(hostile.raises, 7, 60).exception()
    assert (type(error), str(error)) == (ValueError, "no good:\n7")
    assert isinstance(started.submit(hostile.sleeps, 600, 1).exception(), TimeoutError)
    died = started.submit(hostile.exits, 3, 60).exception()
    assert isinstance(died, WorkerDied)
    assert started.submit(hostile.fine, 7, 60).result()["order"] == 7


def test_a_job_that_takes_too_much_memory_is_stopped(hostile: Any, cluster: Any) -> None:
    executor = RayCluster(cluster.address)
    executor.start(Crew(workers=1, threads=1, memory=600 * 1024**2))
    try:
        assert isinstance(executor.submit(hostile.eats_memory, 1, 120).exception(), MemoryExceeded)
    finally:
        executor.stop()


def test_a_machine_that_would_give_other_bits_is_refused(hostile: Any, cluster: Any) -> None:
    executor = RayCluster(cluster.address)
    executor.start(Crew(workers=1, threads=1, memory=0, kind=hostile.own_process))
    try:
        error = executor.submit(hostile.fine, 1, 60).exception()
    finally:
        executor.stop()
    assert isinstance(error, WorkerDied)
    assert f"process is {os.getpid()}" not in str(error)
    assert f"and here {os.getpid()}" in str(error)
    assert "use machines of one kind, or set portable = true in the suite" in str(error)


def test_no_process_is_left_when_the_run_stops(started: RayCluster, hostile: Any) -> None:
    row = started.submit(hostile.fine, 1, 60).result()
    stuck = started.submit(hostile.sleeps, 600, 600)
    assert eventually(stuck.running)
    stopping = threading.Thread(target=started.stop)
    stopping.start()
    assert isinstance(stuck.exception(120), WorkerDied)
    stopping.join()
    assert gone(row["parent"])


@pytest.mark.parametrize(("seed", "back"), [(0, True), (1, True), (2, True), (3, False)])
def test_a_node_that_dies_costs_no_job(cluster: Any, started: RayCluster, hostile: Any, seed: int, back: bool) -> None:
    """Whether there is another instead of it or not."""
    chance = random.Random(seed)
    futures = [started.submit(hostile.sleeps, 0.2 + n / 1000, 120) for n in range(12)]
    enough = chance.randrange(1, 6)
    assert eventually(lambda: sum(future.done() for future in futures) >= enough)
    cluster.remove_node(cluster.nodes_of_jobs.pop(chance.randrange(2)), allow_graceful=False)
    cluster.nodes_of_jobs += [cluster.add_node(num_cpus=1)] if back else []
    assert sorted(future.result()["order"] for future in futures) == [0.2 + n / 1000 for n in range(12)]
