"""The tutorial on checkpoints, from its files to its board."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import finefuse

PAGE = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w+\n# (\w+\.(?:py|toml))\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_five_checkpoints_become_a_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, block in BLOCKS:
        Path(name).write_text(block)
    exec(compile(dict(BLOCKS)["make_five.py"], "make_five.py", "exec"), {})
    run = finefuse.run("checkpoints.toml", workers=0, out="out", store="store", quiet=True)
    assert {row["status"] for row in run.rows} == {"ok"}
    lines = run.board.lines.set_index("strategy")
    scores = lines["test.accuracy.mean"]
    assert (lines["origin"] == "given").sum() == 5
    assert scores["greedy-soup"] > 0.5 > scores["noisy"]
    assert (lines["figure.distance"].dropna() < 1).all()
