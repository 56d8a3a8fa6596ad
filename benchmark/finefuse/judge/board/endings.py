"""Texts on how the runs of one line ended."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from finefuse.judge.frame import number
from finefuse.records import why
from finefuse.types import Record

GIB = 1024**3


def status(rows: Sequence[Record]) -> str:
    """How many runs are ok: "3/3", or "1/3: 2 failed"."""
    counts = Counter(row["status"] for row in rows)
    text = f"{counts.pop('ok', 0)}/{len(rows)}"
    return f"{text}: {', '.join(f'{n} {status}' for status, n in sorted(counts.items()))}" if counts else text


def reasons(rows: Sequence[Record]) -> str:
    """What went wrong, every distinct reason once, with the peak memory of jobs that ran out of it.

    For a model that couldn't be made, the reason why it wasn't timed is left out.
    """
    bad = [row for row in sorted(rows, key=lambda row: row["seed"]) if row["status"] != "ok"]
    if any(row["kind"] != "time" for row in bad):
        bad = [row for row in bad if row["kind"] != "time"]
    peaks: dict[str, float] = {}
    for row in bad:
        reason = f"{'not timed, ' * (row['kind'] == 'time')}{_reason(row)}"
        peak = number(row, "peak_memory")
        peaks[reason] = max(peaks.get(reason, 0.0), 0.0 if math.isnan(peak) else peak)
    return "; ".join(
        f"{reason}{f', peak {peak / GIB:.3g} GiB' * (peak >= 0.001 * GIB)}" for reason, peak in peaks.items()
    )


def _reason(row: Record) -> str:
    cause = why(row)
    return f"{row['status']}: {cause}" if cause else str(row["status"])
