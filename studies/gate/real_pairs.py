"""Real runs of `finefuse ab`, with nothing changed and with a tenth more work: python studies/gate/real_pairs.py [A B].

Runs A comparisons of a plugin with itself and B with one whose network takes a tenth longer, of five pairs each, and
prints a line for each. A run takes a few seconds, so 20 and 10 take an hour or more.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

from finefuse.judge.compare import Comparison
from finefuse.judge.gate.pairs import ALL
from finefuse.repeat.ab import ab

PLUGIN = Path(__file__).parents[2] / "tests" / "fixtures" / "plugins" / "tiny.py"
FORWARD = """
class Busy(torch.nn.Module):
    def forward(self, x):
        for _ in range(LAPS):
            sum(range(100))
        return x
"""
SUITE = """
name      = "busy"
budget    = { epochs = 12, batch_size = 16 }
datasets  = [{ use = "points", images = true }]
backbones = [{ use = "tiny", images = true }]
metrics   = ["accuracy"]
schemes   = ["full", { use = "full", lr = 0.02 }]
latency   = []
fusions   = ["mean-probs"]

[pools]
both = { of = ["full", "full(lr=0.02)"] }
"""
LAPS = {"nothing": 80_000, "a tenth": 88_250}
"""Of work that is done for each batch, which is 97 % of all."""


def write(folder: Path, name: str, laps: int) -> Path:
    """A plugin whose network does so much for nothing."""
    text = PLUGIN.read_text(encoding="utf-8")
    text = text.replace("\n\n@dataclass", FORWARD.replace("LAPS", str(laps)) + "\n\n@dataclass", 1)
    text = re.sub(r"first = nn\.Sequential\(", "first = nn.Sequential(Busy(), ", text)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def told(found: Comparison) -> str:
    """What it says of the processor seconds of all jobs, and what else it calls worse."""
    (total,) = [verdict for verdict in found.verdicts if verdict.cell == ALL]
    worse = [f"{v.cell} {v.measure}" for v in found.verdicts if v.judgement == "regressed" and v.cell != ALL]
    judged = "regressed" if total.judgement == "regressed" else "no alarm"
    return f"{judged} | {total.reason} | {'; '.join(worse) or '-'} | {os.getloadavg()[0]:.1f}"


def main(same: int, slower: int) -> None:
    """Run and print."""
    print("| changed | verdict | processor seconds of all jobs | lines called worse | load |\n|:--|:--|:--|:--|--:|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        suite = folder / "busy.toml"
        suite.write_text(SUITE, encoding="utf-8")
        base = write(folder, "base.py", LAPS["nothing"])
        for i in range(max(same, slower)):
            for changed, times in (("nothing", same), ("a tenth", slower)):
                if i < times:
                    new = write(folder, "new.py", LAPS[changed])
                    found = ab(str(base), str(new), suite=str(suite), device="cpu", workers=0)
                    print(f"| {changed} | {told(found)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3] or ("20", "10")))
