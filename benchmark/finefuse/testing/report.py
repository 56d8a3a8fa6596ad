"""What the kit found: for each rule, whether it is kept, and why it was not tried where it wasn't."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from finefuse.errors import did_you_mean

Check = Callable[[Any], None]
Outcome = Literal["kept", "broken", "expected", "not run"]


class NotRun(Exception):  # noqa: N818  (nothing is wrong)
    """A rule could not be tried, or doesn't concern the plugin; the text says why."""


@dataclass(frozen=True)
class Checked:
    """What came of one rule, and why, unless it is kept."""

    rule: str
    outcome: Outcome
    why: str = ""

    def __str__(self) -> str:
        return f"{self.rule}: {self.outcome}{f', {self.why}' if self.why else ''}"


@dataclass(frozen=True)
class Report:
    """What came of every rule. Its text has a line for each."""

    plugin: str
    checked: tuple[Checked, ...]

    def having(self, outcome: Outcome) -> list[Checked]:
        """The rules of which this came."""
        return [one for one in self.checked if one.outcome == outcome]

    @property
    def complaint(self) -> str:
        """The rules that are broken, and how; "" if none is."""
        broken, tried = self.having("broken"), len(self.checked) - len(self.having("not run"))
        lines = "\n".join(f"  {one.rule}: {one.why}" for one in broken)
        return f"{self.plugin} breaks {len(broken)} of {tried} rules:\n{lines}" if broken else ""

    def __str__(self) -> str:
        return "\n".join([self.plugin, *(f"  {one}" for one in self.checked)])


def require(holds: object, message: str) -> None:
    """Complain unless something holds."""
    if not holds:  # not a plain assert, which pytest would rewrite and whose words it would change
        raise AssertionError(message)


def called(plugin: Any) -> str:
    """What a plugin, a class or an instance, is called in sentences."""
    return plugin.__name__ if isinstance(plugin, type) else repr(plugin)


def made(plugin: Any) -> Any:
    """An instance, with its default parameters if a class is given."""
    return plugin() if isinstance(plugin, type) else plugin


def tell(
    plugin: Any, checks: Mapping[str, Check], skip: Collection[str] = (), expected: Mapping[str, str] | None = None
) -> Report:
    """Try every rule that is not in `skip`; `expected` gives reasons for those that the plugin doesn't keep."""
    expected = expected or {}
    for rule in (*skip, *expected):
        hint = did_you_mean(rule, checks) or f"; there are {', '.join(checks)}"
        require(rule in checks, f"there is no rule {rule}{hint}")
    for rule, reason in expected.items():
        require(reason.strip(), f"{rule} is expected to fail; say why")
    subject, found = plugin, []
    with suppress(Exception):  # each rule then says what is raised
        subject = copy.copy(made(plugin))
    for rule, check in checks.items():
        left_out = "it was to be left out" if rule in skip else ""
        found.append(tried(rule, check, subject, left_out, expected.get(rule, "")))
    return Report(called(plugin), tuple(found))


def tried(rule: str, check: Check, plugin: Any, left_out: str = "", expected: str = "") -> Checked:
    """What came of one rule; a plugin that ends Python breaks it as one does that raises."""
    if left_out:
        return Checked(rule, "not run", left_out)
    try:
        check(plugin)
    except NotRun as reason:
        return Checked(rule, "not run", str(reason))
    except AssertionError as error:
        return Checked(rule, "expected", expected) if expected else Checked(rule, "broken", str(error))
    except (Exception, SystemExit) as error:
        told = f"raised {type(error).__name__}: {error}"
        return Checked(rule, "expected", expected) if expected else Checked(rule, "broken", told)
    if expected:
        return Checked(rule, "broken", f"it was expected to fail ({expected}), and is kept: leave it out of `expected`")
    return Checked(rule, "kept")


def conform(
    plugin: Any, checks: Mapping[str, Check], skip: Collection[str] = (), expected: Mapping[str, str] | None = None
) -> Report:
    """As `tell`.

    Raises:
        AssertionError: that lists the rules it breaks, and how.
    """
    report = tell(plugin, checks, skip, expected)
    require(not report.complaint, report.complaint)
    return report
