"""The model card that goes with an exported file. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finefuse.deploy.usage import Usage, block, loading
from finefuse.rows import is_given, origin
from finefuse.text import printable
from finefuse.types import Record, Task


@dataclass(frozen=True)
class CardFacts:
    """The facts on a card that are not in the row.

    `dtype` is that of the inputs; `fixed` is why the file takes one at a time, "" where it takes any number. `checks`
    say what was compared. `members` and `deployed` name the models of the pool, and those that are in the file.
    `val_used` is whether the method learned or chose from the val examples. `remarks` are the
    data set's, as which columns it uses. Of a file for several `tasks` each of these is a line on one.
    """

    task: Task
    dtype: str
    fixed: str
    checks: tuple[str, ...]
    members: Sequence[str]
    deployed: Sequence[str]
    versions: str
    usage: Usage = field(default_factory=Usage)
    val_used: bool = False
    remarks: tuple[str, ...] = ()
    tasks: Sequence[str] = ()


def card(row: Record, file: Path, facts: CardFacts) -> str:
    """The card's text, as Markdown."""
    given = ", ".join(f"{name} = {value}" for name, value in row["params"].items())
    what = row["label"] if row["label"] == row["use"] and not given else f"{row['label']}: {row['use']}({given})"
    lines = [
        f"# {file.name}",
        "",
        f"{_kind(row)} by `{what}`, measured by finefuse in the suite `{row['suite']}`.",
        "",
        f"- **cell** `{row['cell']}`",
        f"- **key** `{row['key']}`, **artifact** `{row['artifact']}`",
        f"- **data set** {row['dataset']}, **backbone** {row['backbone']}",
        *_members(facts),
        *_stages(row),
        *[f"- **origin** {origin(name, given)}" for name, given in (row.get("given") or {}).items()],
        *_scores(row, facts),
        _cost(row),
        f"- **inputs** {_inputs(facts)}",
        *(facts.tasks or [f"- **outputs** (N, {facts.task.outputs}): {facts.task.described()}"]),
        *[f"- **data** {sentence}" for sentence in facts.remarks],
        *[f"- **checked** {sentence}" for sentence in facts.checks],
        f"- **made with** {facts.versions}",
        "",
        *block(facts.usage),
        *loading(file, facts.usage),
        "",
    ]
    return printable("\n".join(lines))


def _kind(row: Record) -> str:
    if is_given(row):
        return "A network that was given, read"
    if row["kind"] == "tune":
        return "A network fine-tuned"
    made = {"output": "An ensemble of outputs fused", "feature": "A fusion of features made"}
    return made.get(row["level"], "One network of fused weights made")


def _members(facts: CardFacts) -> list[str]:
    if not facts.members:
        return []
    used = "" if set(facts.deployed) >= set(facts.members) else f"; deployed are {', '.join(facts.deployed)}"
    return [f"- **members** {', '.join(facts.members)}{used}"]


def _stages(row: Record) -> list[str]:
    pairs = zip(row.get("followed_by") or (), row.get("saw") or (), strict=True)
    told = ", then ".join(f"{stage} (data seen: {saw})" for stage, saw in pairs)
    return [f"- **followed by** {told}"] if told else []


def _scores(row: Record, facts: CardFacts) -> list[str]:
    seen = ", which it was fitted or chosen on" if facts.val_used else ""
    return [
        f"- **{name}** {row[f'test.{name}']:.4f} on test ({row['n_test']} examples), "
        f"{row[f'val.{name}']:.4f} on val{seen}; {row[f'better.{name}']} is better"
        for name in row["metrics"]
    ]


def _cost(row: Record) -> str:
    figures = f"{row['parameters']:,} parameters, {row['flops']:,} floating-point operations per example"
    if is_given(row):
        return f"- **cost** of what was given is not known; {figures}"
    others = row.get("seconds_members", 0.0) + row.get("seconds_before", 0.0)
    also = f" and {others:.2f} s for what it is made of" if others else ""
    return f"- **cost** {row['seconds']:.2f} s{also}{' and what was given' if row.get('given') else ''}; {figures}"


def _inputs(facts: CardFacts) -> str:
    shape = ", ".join(map(str, facts.task.input_shape))
    many = f"; N is 1, because {facts.fixed}" if facts.fixed else ""
    return f"({'1' if facts.fixed else 'N'}, {shape}), {facts.dtype}, as the data set has them{many}"
