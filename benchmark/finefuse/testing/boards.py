"""Small boards to try a reporter on, made of rows as a run would write them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from finefuse.judge.board.leaderboard import Leaderboard, make_leaderboard
from finefuse.types import Job, Record, Ref

EXAMPLES = 100
HOSTILE = (
    "a|b",
    "<img src=x onerror=alert(1)>",
    '=HYPERLINK("http://example.com","x")',
    "@SUM(A1)",
    "comma, \"quote\" and 'apostrophe'",
    "\\textbf{x} & 100 % $y$ #1 _z_",
    "../../outside",
    "naïve café 表",
    "a" * 200,
)
"""Labels that mean something to one format or another."""


def small_board(labels: Sequence[str] = ("tuned", "probed"), seeds: int = 2) -> Leaderboard:
    """A board of these schemes on one data set and one backbone, with one pool of them where there are some."""
    rows = [small_row(label, seed, 70 + n % 20 + seed) for n, label in enumerate(labels) for seed in range(seeds)]
    if labels:
        rows += [small_row("averaged", seed, 92, pool="all") for seed in range(seeds)]
    return make_leaderboard("small", rows)


def small_row(label: str, seed: int, right: int, pool: str = "") -> Record:
    """The row of a job that ended well; `right` of 100 answers are."""
    job = Job("fuse" if pool else "tune", Ref("small-net"), Ref("points"), Ref(label), label, pool, seed)
    answers = np.arange(EXAMPLES) < right
    return {
        **dict.fromkeys(("schema", "members"), 1),
        **job.place.fields(),
        "suite": "small",
        "key": f"key of {job.cell}",
        "artifact": f"artifact of {job.cell}",
        "cell": job.cell,
        "dataset_use": "points",
        "backbone_use": "small-net",
        "use": label,
        "params": {},
        "status": "ok",
        "machine": "m1",
        "finished": "2026-01-01T00:00:00Z",
        "parts": {"seed": str(seed)},
        "parameters": 77_000,
        "flops": 1_200_000,
        "contended": False,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "seconds": 1.5,
        "cpu_seconds": 1.4,
        "peak_memory": None,
        "metrics": ["share"],
        "test.share": right / EXAMPLES,
        "val.share": 0.5,
        "better.share": "higher",
        "correct": base64.b64encode(np.packbits(answers).tobytes()).decode(),
        "n_test": EXAMPLES,
        "examples": "digest of examples",
        "outputs": "digest of outputs",
        "steps": 100,
        "gradients": 100,
        "trainable": 0 if pool else 77_000,
        "seconds_members": 4.5 if pool else None,
    }
