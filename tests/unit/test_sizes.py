"""Code stays in pieces that can be read at once."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["benchmark", "plugins", "tests"])
def test_modules_and_functions_are_short(folder: str) -> None:
    long, files = [], sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 50
    for file in files:
        text = file.read_text()
        if text.count("\n") > 400:
            long.append(str(file))
        functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
        long += [f"{file}: {n.name}" for n in functions if (n.end_lineno or 0) - n.lineno >= 50]
    assert long == []
