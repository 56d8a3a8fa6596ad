"""The installation for reports alone: what docs/cli.md lists, and that reports need no more."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEFT_OUT = {"torch", "torchmetrics", "scikit-learn", "pillow"}
CODE = """
import sys
for name in ("torch", "torchmetrics", "sklearn", "PIL"):
    sys.modules[name] = None
from finefuse.cli import main
main(sys.argv[1:])
"""


def test_the_line_lists_all_but_what_only_runs_need() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"<!-- board only -->\n```bash\n(.*)\n```", page)
    alone, rest = line.split(" && ")
    assert alone == "pip install --no-deps ."
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split("[<>=!]", name)[0] for name in project["dependencies"]}
    assert set(rest.split()[2:]) == needed - LEFT_OUT
    assert needed >= LEFT_OUT


def test_reports_need_none_of_these() -> None:
    baseline = ROOT / "baselines" / "quick"
    for arguments in (["report", baseline, "--print"], ["report", baseline, "--against", baseline], ["--help"]):
        done = subprocess.run([sys.executable, "-c", CODE, *map(str, arguments)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
