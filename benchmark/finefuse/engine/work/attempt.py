"""Around one job: what goes wrong in it becomes a row. Imports no torch until a job is carried out."""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from finefuse.discovery.registry import Door
from finefuse.engine.order import Order, row, status_of
from finefuse.engine.work.lost import note_lost, refuse_lost
from finefuse.engine.work.output import kept_output
from finefuse.errors import PluginError, StoreError, one_line
from finefuse.rows import wrong_with
from finefuse.text import shown
from finefuse.types import PluginKind, Record, Ref, Status

BARS = ("TQDM_DISABLE", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
"""Variables that packages ask for when they are imported: tqdm, which torch and torchvision show bars with, and two."""


def attempt(order: Order, carry_out: Callable[[Order], Record] | None = None) -> Record:
    """Carry out the job and return its row, whatever its status; in a failed one `traceback` holds the whole text.

    It runs where the job runs, so that exceptions of plugins, which may be of any class, never have to travel.

    Raises:
        StoreError: if the store can't be read or written: that is no fault of the job's.
        DeviceLost: if an earlier job in this process has left the GPU unusable.
    """
    logging.getLogger("finefuse").addFilter(shown)
    refuse_lost(order.device)
    try:
        with kept_output(order.log):
            record = carry_out(order) if carry_out else _really(order)
        if wrong := wrong_with(json.loads(json.dumps(record))):
            raise PluginError(f"its row {wrong}")
        return record
    except (StoreError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit of a plugin's is a failure like any other
        status = "failed" if isinstance(error, TimeoutError) else status_of(error)
        peak = _peak_memory(order) if status == "oom" else None
        note_lost(order, error)
        return failure(order, error, status, "".join(traceback.format_exception(error)), peak)


def get_ready(doors: tuple[Door, ...], used: Sequence[tuple[PluginKind, Ref]] = (), *, extras: bool = False) -> None:
    """What every job begins with, and which may be done once in a process that is copied for each job.

    `used` are the plugins that some of the jobs will use; with `extras` what they require is imported too.
    """
    logging.getLogger("finefuse").addFilter(shown)
    with _no_bars():
        from finefuse.engine.work.opened import open_ahead

        open_ahead(doors, used, extras=extras)


def _really(order: Order) -> Record:
    with _no_bars():
        from finefuse.engine.work.job import carry_out

        return carry_out(order)


@contextmanager
def _no_bars() -> Iterator[None]:
    """Packages that are imported now show no progress bars, which would appear between a run's lines."""
    before = {name: os.environ.get(name) for name in BARS}
    os.environ.update(dict.fromkeys(BARS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def failure(
    order: Order, error: BaseException, status: Status, trace: str = "", peak_memory: int | None = None
) -> Record:
    """The row of a job that raised; one that ran out of memory says how many bytes it had at its peak, if known."""
    cost = sys.modules.get("finefuse.engine.measure.cost")  # it needs torch, which a failure is no reason to import
    machine = cost.machine_id(order.device) if cost else ""
    name = type(error).__name__
    more = {"peak_memory": peak_memory} if status == "oom" else {}
    return row(order, status, reason=one_line(error), error=name, traceback=trace, machine=machine, **more)


def _peak_memory(order: Order) -> int | None:
    """The peak of the job that has just failed here."""
    cost = sys.modules.get("finefuse.engine.measure.cost")
    with suppress(Exception):  # a GPU in trouble must not cost the row
        return cost.peak_memory(order.device) if cost else None
    return None
