"""`finefuse check SUITE`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from finefuse.cli.options import Plugins, SuiteName
from finefuse.cli.printing import say

if TYPE_CHECKING:
    from finefuse.declare.plan import Plan
    from finefuse.types import Job


def check(suite: SuiteName, plugin: Plugins = None) -> None:
    """Check whether a suite can be run, without running it."""
    from finefuse import api

    plan = api.plan(suite, device="cpu", plugins=plugin or ())
    say(sentence(plan), *plan.remarks)


def sentence(plan: Plan) -> str:
    """`quick: 5 schemes, 6 fusions, ..., 84 jobs; all good`, or which will be skipped and why."""
    suite = plan.suite
    counted = {
        "data set": suite.datasets,
        "backbone": suite.backbones,
        "scheme": suite.schemes,
        "fusion": suite.fusions,
        "pool": suite.pools,
        "metric": suite.metrics,
        "seed": suite.seeds,
        "job": plan.jobs,
    }
    parts = [f"{len(things)} {noun}{'s' * (len(things) != 1)}" for noun, things in counted.items() if things]
    return f"{suite.name}: {', '.join(parts)}; {_skipped(plan.jobs) or 'all good'}"


def _skipped(jobs: Sequence[Job]) -> str:
    """How many jobs are known to be skipped, and why; "" where none is."""
    reasons = Counter(job.skip for job in jobs if job.skip)
    counted = [f"{count} job{'s' * (count != 1)} will be skipped: {reason}" for reason, count in reasons.items()]
    return "; ".join(counted)
