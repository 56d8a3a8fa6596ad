"""Pytest: the conformance kit, one test per rule, and a suite held against a baseline, one test per line.

```python
def test_thaw(scheme_check):  # or that of another kind
    scheme_check(Thaw)
```

`pytest --finefuse SUITE --finefuse-baseline DIR` runs the suite once and judges it as `finefuse compare` does.

What either needs is imported when it is asked for, not when pytest starts: other projects' pytest is no slower, and
coverage sees the imports.
"""

from __future__ import annotations

import pytest

_OPTIONS = ("finefuse", *(f"finefuse_{name}" for name in ("baseline", "out", "workers", "portable", "plugin")))

_KINDS = ("dataset", "backbone", "scheme", "fusion", "metric", "executor", "reporter", "observer", "suite")
CHECKED = frozenset(f"{kind}_check" for kind in _KINDS)
"""Arguments of tests that run once per rule."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options for a suite that is held against a baseline."""
    group = parser.getgroup("finefuse", "a suite of finefuse, held against a baseline")
    group.addoption("--finefuse", metavar="SUITE", help="Run this suite once; each line of its board is a test.")
    group.addoption("--finefuse-baseline", metavar="DIR", help="The results folder to compare with.")
    group.addoption("--finefuse-out", metavar="DIR", help="Folder of the new results. Default: a temporary one.")
    group.addoption("--finefuse-workers", metavar="N", type=int, help="Jobs at a time, as for `finefuse run`.")
    group.addoption("--finefuse-portable", action="store_true", help="The same bits on other machines, as for `run`.")
    group.addoption(
        "--finefuse-plugin",
        metavar="DOOR",
        action="append",
        default=[],
        help="A file.py or module to use as a plugin; repeatable.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """With these options, collect and run what they ask for.

    Raises:
        UsageError: if they make no sense.
    """
    config.addinivalue_line("markers", "finefuse: a line of a suite that --finefuse holds against a baseline")
    if any(map(config.getoption, _OPTIONS)):
        from finefuse.pytest_plugin import gate

        config.pluginmanager.register(gate, "finefuse-gate")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per rule."""
    for argument in CHECKED & set(metafunc.fixturenames):
        from finefuse.pytest_plugin.rules import each_rule

        checks = each_rule(argument.removesuffix("_check"))
        metafunc.parametrize(argument, list(checks.values()), ids=list(checks))
