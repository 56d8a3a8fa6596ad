"""Jobs that run no code from outside: which they are, and how they follow each other in one process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from finefuse.discovery.registry import Registry
from finefuse.engine.drive.together import Together
from finefuse.engine.order import Order
from finefuse.errors import WorkerDied
from finefuse.types import Job, Ref, Settings
from finefuse_zoo.executors.local import Local
from helpers.waiting import gone

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process is copied")
OURS = "ours"


@pytest.fixture
def local(started: Callable[..., Local]) -> Local:
    """One worker, of which all orders but those from outside may share a process."""
    return started(prepare=partial(int), together=lambda order: order != "theirs")


@linux
def test_they_follow_each_other_in_one_process_until_another_job_comes(local: Local, hostile: ModuleType) -> None:
    orders = [OURS, OURS, "theirs", OURS, OURS]
    pids = [local.submit(hostile.fine, order, 20).result()["pid"] for order in orders]
    assert pids[0] == pids[1]
    assert pids[3] == pids[4]
    assert len(set(pids)) == 3
    assert gone(*pids[:3])


@linux
@pytest.mark.parametrize(
    ("how", "order"),
    [
        ("raises", OURS),
        ("is_not_ok", OURS),
        ("holds_memory", OURS),
        ("exits", "7"),
        ("segfaults", OURS),
        ("leaves_a_child", OURS),
        ("a_thread_leaves_a_child", OURS),
        ("forks_and_returns", OURS),
    ],
)
def test_what_goes_wrong_or_leaves_something_behind_is_the_last_in_its_process(
    local: Local, hostile: ModuleType, how: str, order: str
) -> None:
    before = local.submit(hostile.fine, OURS, 20).result()
    local.submit(getattr(hostile, how), order, 20).exception()
    after = local.submit(hostile.fine, OURS, 20).result()
    assert before["pid"] != after["pid"]
    assert gone(before["pid"])


@linux
def test_one_that_is_killed_is_tried_again_and_one_that_takes_too_long_is_ended(
    local: Local, hostile: ModuleType
) -> None:
    pid = local.submit(hostile.fine, OURS, 20).result()["pid"]
    with pytest.raises(WorkerDied, match="killed from outside"):
        local.submit(hostile.kills_itself, OURS, 20).result()
    assert gone(pid)
    with pytest.raises(TimeoutError):
        local.submit(hostile.hangs, OURS, 0.5).result()
    assert local.submit(hostile.fine, OURS, 20).result()["status"] == "ok"


OUTSIDE = """
import dataclasses, finefuse

@dataclasses.dataclass(frozen=True)
class Mine:
    def tune(self, on): ...

@finefuse.hookimpl
def finefuse_schemes():
    yield finefuse.Entry("mine", Mine, "from outside")
"""


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Together:
    """With a scheme from outside beside the built-in plugins."""
    file = tmp_path_factory.mktemp("outside") / "mine.py"
    file.write_text(OUTSIDE)
    return Together(Registry((str(file), "finefuse_zoo.hooks")))


def order(strategy: Ref, device: str = "cpu", **fields: Any) -> Order:
    """A job on built-in plugins."""
    named = {"backbone": Ref("cnn-s"), "dataset": Ref("digits"), "strategy": strategy} | fields
    job = Job(kind="tune", label="x", artifact="a", key="k", parts=(), **named)
    return Order(job, "suite", Settings(), (), device, "store", ())


def test_only_what_comes_with_finefuse_shares_a_process_whatever_it_is_nested_in(together: Together) -> None:
    assert together(order(Ref.of("full")))
    assert together(order(Ref.of("chain", of=["linear-probe", {"use": "full"}])))
    assert not together(order(Ref.of("mine")))
    assert not together(order(Ref.of("chain", of=["linear-probe", {"use": "mine"}])))
    assert not together(order(Ref.of("chain", of=["linear-probe", {"use": "chain", "of": ["mine"]}])))
    assert not together(order(Ref.of("there is none")))


def test_nor_does_what_needs_an_extra_or_runs_on_a_gpu_or_may_try_anything(together: Together) -> None:
    assert not together(order(Ref.of("full"), backbone=Ref("timm")))
    assert not together(order(Ref.of("full"), "cuda:0"))
    assert not together(order(Ref.of("full"), search=Ref("search")))
