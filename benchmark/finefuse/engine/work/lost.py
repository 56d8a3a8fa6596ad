"""GPUs that this process has lost: after some errors CUDA refuses everything until the process ends."""

from __future__ import annotations

import sys

from finefuse.engine.order import Order
from finefuse.errors import DeviceLost, one_line

_lost: dict[str, str] = {}
"""What happened, by the device."""


def refuse_lost(device: str) -> None:
    """Refuse a job on a device that an earlier one has left unusable.

    Raises:
        DeviceLost: in one sentence.
    """
    if device in _lost:
        raise DeviceLost(
            f"{device} can't be used in this process any more: {_lost[device]}; run again, and what is done is kept"
        )


def note_lost(order: Order, error: BaseException) -> None:
    """After a job has failed: ask its GPU whether it still answers, and remember if it doesn't."""
    cost = sys.modules.get("finefuse.engine.measure.cost")
    if cost is None or not order.device.startswith("cuda"):
        return
    try:
        cost.synchronise(order.device)
    except Exception as refusal:
        _lost[order.device] = f"since {order.job.cell} failed ({one_line(error)}) it says {one_line(refusal)}"
