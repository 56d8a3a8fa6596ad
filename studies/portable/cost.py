"""What portable results cost: a part of `quick` with and without `--portable` in turn, cold, in seconds of processors.

    python studies/portable/cost.py [PAIRS]

Seconds of processors hardly depend on what else the machine does; those of the clock do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
QUICK = tomllib.loads((ROOT / "suites" / "quick.toml").read_text(encoding="utf-8"))
PART = {
    **{name: QUICK[name] for name in ("budget", "datasets", "metrics")},
    "schemes": ["full", "linear-probe"],
    "fusions": ["soup", "vote"],
    "pools": {"same-scheme": {"of": ["full"], "copies": 3}},
}
"""One seed and these strategies, with the settings of the suite; one backbone at a time."""
SCRIPT = "import json, sys, finefuse; finefuse.run(json.loads(sys.argv[1]), **json.loads(sys.argv[2]))"
Seconds = dict[str, float]


def run(backbone: str, *, portable: bool) -> tuple[Seconds, dict[str, str]]:
    """Seconds of processors by kind of job, and the digests of all outputs by cell."""
    with tempfile.TemporaryDirectory() as folder:
        how = {"workers": 1, "device": "cpu", "out": f"{folder}/out", "quiet": True, "portable": portable}
        suite = {"name": "part", "backbones": [backbone], "latency": [], **PART}
        env = os.environ | {"FINEFUSE_STORE": f"{folder}/store", "XDG_CACHE_HOME": folder}
        subprocess.run([sys.executable, "-c", SCRIPT, json.dumps(suite), json.dumps(how)], env=env, check=True)
        rows = [json.loads(line) for line in Path(folder, "out", "records.jsonl").read_text().splitlines()]
    seconds: Counter[str] = Counter()
    for row in rows:
        if row.get("cpu_seconds") is not None:
            seconds[row["label"] or row["kind"]] += row["cpu_seconds"]
    return seconds, {row["cell"]: row["outputs"] for row in rows if row.get("outputs")}


def table(found: dict[bool, list[Seconds]]) -> Sequence[str]:
    """Medians with and without, and their ratio."""
    lines = []
    for name in (*found[False][0], "all"):
        with_it, without = (
            median(sum(one.values()) if name == "all" else one[name] for one in found[way]) for way in (True, False)
        )
        lines.append(f"  {name}: {without:.2f} s, portable {with_it:.2f} s, ratio {with_it / without:.2f}")
    return lines


def main() -> None:
    """Print the seconds of both ways, and how many outputs they share."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    for backbone in QUICK["backbones"]:
        found: dict[bool, list[Seconds]] = {False: [], True: []}
        outputs: dict[bool, dict[str, str]] = {}
        for _ in range(pairs):
            for portable in (False, True):
                seconds, digests = run(backbone, portable=portable)
                assert outputs.setdefault(portable, digests) == digests, "not the same bits twice"
                found[portable].append(seconds)
        same = sum(outputs[True][cell] == digest for cell, digest in outputs[False].items())
        print(
            f"{backbone}: the same outputs in {same} of {len(outputs[True])} cells", *table(found), sep="\n", flush=True
        )


if __name__ == "__main__":
    main()
