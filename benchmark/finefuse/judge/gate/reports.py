"""A comparison for test reports (JUnit XML) and for GitHub's annotations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree

from finefuse.judge.gate.outcome import Outcome
from finefuse.judge.gate.shown import change, number, to_list
from finefuse.text import plain
from finefuse.types import Verdict

ERRORS = frozenset({"failed", "missing", "not-comparable"})
"""Judgements that say that something could not be judged, and not that it is worse."""
PER_KIND = 10
"""How many annotations of a kind GitHub shows of one step."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(found: Outcome) -> str:
    """JUnit XML as pytest writes it (xunit2): a test case per verdict, and one for each doubt about all of them.

    Fatal judgements are failures, or errors where nothing could be judged; what is inconclusive or skipped is skipped.
    """
    cases = [_case(verdict, found) for verdict in found.verdicts]
    for said in found.doubts:
        case = ElementTree.Element("testcase", classname="finefuse.comparison", name=_clean(said), time="0")
        ElementTree.SubElement(case, "error", message=_clean(said))
        cases.append(case)
    counts = Counter(child.tag for case in cases for child in case)
    totals = {"errors": counts["error"], "failures": counts["failure"], "skipped": counts["skipped"]}
    fields = {name: str(count) for name, count in (*totals.items(), ("tests", len(cases)))}
    root = ElementTree.Element("testsuites", name="finefuse compare")
    suite = ElementTree.SubElement(root, "testsuite", {"name": "finefuse compare", "time": "0", **fields})
    suite.extend(cases)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(verdict: Verdict, found: Outcome) -> ElementTree.Element:
    name = f"{verdict.cell} {verdict.measure}".strip()
    case = ElementTree.Element("testcase", classname=f"finefuse.{verdict.scope}", name=_clean(name), time="0")
    said = _clean(message(verdict))
    if verdict.judgement in found.policy.fatal:
        tag = "error" if verdict.judgement in ERRORS else "failure"
        ElementTree.SubElement(case, tag, message=said, type=verdict.judgement)
    elif verdict.judgement in ("inconclusive", "skipped"):
        ElementTree.SubElement(case, "skipped", message=said, type=verdict.judgement)
    return case


def message(verdict: Verdict) -> str:
    """A verdict in one sentence."""
    values = " to ".join(filter(None, (number(verdict.base), number(verdict.new))))
    about = f"{verdict.measure or 'score'} {values}".strip()
    moved = change(verdict)
    return plain(f"{verdict.judgement}: {about}{f' ({moved})' if moved else ''}: {verdict.reason}".rstrip(": "))


def to_github(found: Outcome) -> str:
    """Workflow commands: doubts and what is fatal as errors, notes as warnings, all else that is listed as notices.

    GitHub shows ten annotations of a kind, so the tenth says how many more there are.
    """
    kinds: dict[str, list[tuple[str, str]]] = {"error": [], "warning": [], "notice": []}
    title = "finefuse compare"
    kinds["error"] = [(title, said) for said in found.doubts]
    kinds["warning"] = [(title, said) for said in found.notes]
    for verdict in to_list(found):
        kind = "error" if verdict.judgement in found.policy.fatal else "notice"
        kinds[kind].append((f"{verdict.judgement}: {verdict.cell}", message(verdict)))
    if not kinds["notice"]:
        kinds["notice"] = [(title, " ".join(f"{n} {j}" for j, n in found.counts.items()))]
    return "".join(f"{line}\n" for kind, told in kinds.items() for line in _commands(kind, told))


def _commands(kind: str, told: list[tuple[str, str]]) -> Iterator[str]:
    shown = told if len(told) <= PER_KIND else told[: PER_KIND - 1]
    for title, said in shown:
        yield f"::{kind} title={_property(title)}::{_data(said)}"
    if len(told) > len(shown):
        yield f"::{kind} title=finefuse compare::{len(told) - len(shown)} more are in the report"


def _data(text: str) -> str:
    return plain(text).replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _clean(text: str) -> str:
    """Text without characters that XML can't hold."""
    return _NOT_XML.sub("?", text)
