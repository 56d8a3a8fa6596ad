"""`import finefuse`: what it offers to people, editors and type checkers, without torch."""

from __future__ import annotations

import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import finefuse

ROOT = Path(__file__).parents[2]
FUNCTIONS = ("check", "compare", "export", "overall", "pair", "plan", "predict", "report", "run")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_real_parameters_types_and_help(name: str) -> None:
    function = getattr(finefuse, name)
    signature = inspect.signature(function)
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())
    assert signature.return_annotation not in (inspect.Signature.empty, "Any")
    assert (inspect.getdoc(function) or "").partition("\n")[0].endswith(".")


@pytest.mark.parametrize("name", finefuse.__all__)
def test_no_package_or_module_shares_its_name_with_something_of_the_face(name: str) -> None:
    assert importlib.util.find_spec(f"finefuse.{name}") is None


def test_all_is_what_can_be_had_and_what_completion_offers() -> None:
    assert sorted(finefuse.__all__) == list(finefuse.__all__)
    assert set(finefuse.__all__) <= set(dir(finefuse))
    assert all(getattr(finefuse, name) is not None for name in finefuse.__all__)
    assert dir(finefuse) == sorted(set(dir(finefuse)))


@pytest.mark.parametrize(
    "code",
    [
        "import finefuse; assert set(finefuse.__all__) <= set(dir(finefuse)); assert 'finefuse.api' not in sys.modules",
        "from finefuse import *; assert compare.__name__ == 'compare'; assert run.__module__ == 'finefuse.api'",
        "import finefuse; help(finefuse.compare)",
    ],
)
def test_none_of_it_imports_torch(code: str) -> None:
    program = f"import sys; {code}; assert 'torch' not in sys.modules, 'torch'"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


SNIPPET = """
from typing import assert_type
import finefuse
from finefuse import api
from finefuse.declare.plan import Plan
from finefuse.declare.suite import Suite
from finefuse.judge.compare import Comparison

assert_type(finefuse.run("quick"), api.Run)
assert_type(finefuse.report("results/quick"), api.Run)
assert_type(finefuse.compare("a", "b", alpha=0.01, margin=0.02), Comparison)
assert_type(finefuse.plan({"name": "x"}), Plan)
assert_type(finefuse.check("quick"), Suite)
assert_type(finefuse.export("a", "soup", "m.onnx", seed=1), api.Exported)
finefuse.compare("a", "b", alpah=0.01)
finefuse.report(3)
"""
LIGHT = """
[mypy]
mypy_path = {root}/benchmark
follow_imports = skip
ignore_missing_imports = True
[mypy-finefuse.*]
follow_imports = silent
"""
"""A type checker that looks at nothing else: torch and pandas alone take it a minute."""


def test_a_type_checker_sees_them(tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(SNIPPET)
    (tmp_path / "mypy.ini").write_text(LIGHT.format(root=ROOT))
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "snippet.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    wrong = [line for line in done.stdout.splitlines() if "error" in line and line.startswith("snippet.py")]
    assert ["alpah" in line or '"report"' in line for line in wrong] == [True, True], done.stdout + done.stderr
