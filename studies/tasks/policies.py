"""What BatchNorm's statistics and frozen heads are worth to merged bodies: `python policies.py [STORE]`.

Writes policies.md: for the tasks of the suite `tasks`, the mean over tasks of accuracy on test, by fusion, by where the
statistics come from, and by whether heads were tuned. With the STORE of a run of that suite its members are used.
"""

from __future__ import annotations

import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pandas as pd

import finefuse

FUSIONS = ("soup", "task-arithmetic", "ties", "regmean")
POLICIES = ("averaged", "shared", "per-task")
HEADS = {"tuned": "full", "frozen": "frozen"}
HEAD = """# BatchNorm's statistics and the heads of merged bodies

`studies/tasks/policies.py`: points of accuracy on test, the mean over the tasks of the suite `tasks`, `cnn-s`, with the
standard deviation over three seeds. Statistics are averaged over the members, renewed on the training inputs of all
tasks, or renewed for each task on its own.

"""
TASKS = Path(__file__).parents[2] / "suites" / "tasks.toml"


def suite() -> dict[str, Any]:
    """The suite `tasks` with few fusions in many pools."""
    pools = {
        f"{heads}-{policy}": {"of": [scheme], "datasets": "*", "statistics": policy}
        for heads, scheme in HEADS.items()
        for policy in POLICIES
    }
    schemes = ["full", {"use": "full", "head": "frozen", "as": "frozen"}]
    changed = {"name": "policies", "backbones": ["cnn-s"], "schemes": schemes, "fusions": list(FUSIONS), "pools": pools}
    return tomllib.loads(TASKS.read_text(encoding="utf-8")) | changed


def figures(records: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds, in points, by heads and fusion; a column for each policy."""
    fused = records[records.kind == "fuse"].assign(accuracy=lambda rows: rows["test.accuracy"])
    bounds = records[records.kind == "pool"]
    own, before = (
        bounds.assign(label=label, accuracy=bounds[f"{bound}.test.accuracy"])
        for label, bound in (("own models", "single"), ("untouched body", "untouched"))
    )
    rows = pd.concat([own, before, fused])
    rows[["heads", "policy"]] = rows.pool.str.split("-", n=1, expand=True)
    by = rows.groupby(["heads", "label", "policy"], sort=False).accuracy
    cells = (100 * by.mean()).map("{:.1f}".format) + " ± " + (100 * by.std()).map("{:.1f}".format)
    return cells.unstack()[list(POLICIES)].reset_index()


def main(store: str | None) -> None:
    """Run, print and write."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(store) if store else Path(folder) / "store"
        done = finefuse.run(suite(), device="cpu", quiet=True, out=Path(folder), store=kept)
        if not done.ok:
            raise SystemExit("\n".join(f"{row['cell']}: {row['reason']}" for row in done.bad))
        table = figures(done.records)
    rows = [tuple(table.columns), ("---",) * len(table.columns), *table.itertuples(index=False)]
    text = HEAD + "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    print(text)
    file = Path(__file__).with_suffix(".md")
    notes = file.read_text(encoding="utf-8").partition("\n## Notes\n") if file.exists() else ("", "", "")
    file.write_text(text + "".join(notes[1:]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
