"""A line or a cell as text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from tabulate import tabulate

from finefuse.judge.cells import ARTIFACT
from finefuse.judge.classes import ClassScores, balanced, hardest
from finefuse.judge.shown import Shown
from finefuse.records import why
from finefuse.text import plain, printable
from finefuse.types import Record, line_name

WHOLE = 12
"""Classes up to which a confusion matrix is printed whole; else the most frequent confusions."""
MOST = 15
"""Classes, of those with the lowest recall, and confusions that are printed of more."""
LINES = 30
"""Lines that are shown of what a job printed."""
LONG = 240
"""Characters of such a line."""
WIDE = 90
"""Characters of a value."""
RAN = ("machine", "device", "precision", "threads", "channels_last", "compile", "tf32", "portable", "finished")
COST = ("seconds", "cpu_seconds", "seconds_members", "seconds_before", "peak_memory", "steps", "gradients", "pieces")
SIZE = ("trainable", "parameters", "bytes", "flops", "contended", "costs")
DIGESTS = ("correct", "losses", "examples", "outputs", "predicted")


def page(shown: Shown) -> str:
    """All that is shown, section by section."""
    return "\n\n".join(f"## {title}\n\n{text}" if title else text for title, text in _sections(shown) if text)


def _sections(shown: Shown) -> Iterator[tuple[str, str]]:
    first = shown.rows[0]
    yield "", f"# {_title(first)}"
    yield "", _pairs(first, ("suite", "cell", "key", "artifact", "status")) if len(shown.rows) == 1 else ""
    yield "Seeds" if len(shown.rows) > 1 else "Scores", _seeds(shown.rows)
    for row in shown.rows:
        if row["status"] != "ok":
            name = f"Not ok: {row['status']}, seed {row['seed']}"
            yield name, "\n\n".join(filter(None, [why(row), shown.tracebacks.get(row["key"], "").rstrip()]))
    for row in shown.rows:
        if log := shown.logs.get(row["key"]):
            yield f"Printed by the job, seed {row['seed']}", _log(log)
    for found in shown.classes:
        yield f"Classes{f' of {found.task}' if found.task else ''}", _classes(found, len(shown.rows))
    yield "Classes", f"Not known: {shown.unknown}." if shown.unknown else ""
    of = f", seed {first['seed']}" if len(shown.rows) > 1 else ""
    yield "Strategy", _strategy(first)
    yield f"Where and how{of}", _pairs(first, RAN)
    yield f"Costs{of}", "\n".join(filter(None, [_pairs(first, (*COST, *SIZE)), _latency(shown.timed)]))
    yield f"Made of{of}", _parts(shown)
    yield f"To repeat it{of}", "\n".join(shown.again)
    yield f"What the key covers{of}", _key(first)
    yield f"Also in the row{of}", _rest(first)


def _title(row: Record) -> str:
    return " · ".join(map(plain, [line_name(row["label"], row["pool"]), row["dataset"], row["backbone"]]))


def _seeds(rows: Sequence[Record]) -> str:
    metrics = list(dict.fromkeys(name for row in rows for name in row.get("metrics") or ()))
    table = [
        {"seed": row["seed"], "status": row["status"]}
        | {f"{part} {name}": _text(row.get(f"{part}.{name}")) for name in metrics for part in ("test", "val")}
        | {"seconds": _text(row.get("seconds")), "key": row["key"]}
        for row in rows
    ]
    return _table(table)


def _log(text: str) -> str:
    """The last lines that a job printed; a bar that was drawn anew on one line is several."""
    lines = [printable(line.rstrip()) for line in re.split(r"[\r\n]+", text) if line.strip()]
    less = [f"... the last {LINES} of {len(lines)} lines:"] if len(lines) > LINES else []
    return "\n".join([*less, *(line if len(line) <= LONG else f"{line[:LONG]}..." for line in lines[-LINES:])])


def _strategy(row: Record) -> str:
    told = {"plugin": row.get("use") or row["label"], "level": row.get("level"), "needs": row.get("needs")}
    told |= row.get("params") or {}
    told |= {f"chosen on val: {name}": value for name, value in (row.get("chosen") or {}).items()}
    told |= {f"tried: {name}": value for name, value in (row.get("tried") or {}).items()}
    return _pairs(told, tuple(told))


def _parts(shown: Shown) -> str:
    return _table(
        [
            {"as": part.role, "artifact": part.artifact}
            | (
                {"status": part.row["status"], "cell": plain(part.row["cell"])}
                if part.row
                else {"cell": "(no row here)"}
            )
            for part in shown.parts
        ]
    )


def _key(row: Record) -> str:
    parts = {name: text for name, text in (row.get("parts") or {}).items() if not ARTIFACT.fullmatch(text)}
    return _pairs(parts, tuple(parts))


def _rest(row: Record) -> str:
    """Every other field, but for bits and losses by example, of which only their length would tell."""
    told = {"suite", "cell", "key", "artifact", "status", "reason", "error", "traceback", "kind", "parts", "fused"}
    told |= {"params", "chosen", "tried", "level", "needs", "use", "schema", "metrics", *RAN, *COST, *SIZE, *DIGESTS}
    scored = {f"{part}.{name}" for name in row.get("metrics") or () for part in ("test", "val")}
    return _pairs(row, tuple(name for name in row if name not in told | scored))


def _latency(timed: Sequence[Record]) -> str:
    """Of each measurement the figures, or why there are none."""
    told = [_pairs(row, tuple(name for name in row if name.startswith("latency."))) for row in timed]
    return "\n".join(text or f"not timed, {row['status']}: {why(row)}" for text, row in zip(told, timed, strict=True))


def _classes(found: ClassScores, seeds: int) -> str:
    recall, f1 = balanced(found)
    many = len(found.names) > MOST
    shown = hardest(found, MOST) if many else found.classes
    table = [
        {
            "class": plain(row["class"]),
            **{name: row[name] for name in ("examples", "predicted", "right")},
            "recall": f"{row['recall']:.3f}",
            "95 %": f"{row['low']:.3f} to {row['high']:.3f}",
            **{name: f"{row[name]:.3f}" for name in ("precision", "f1")},
        }
        for row in shown.to_dict("records")
    ]
    which = f"; below, the {MOST} of {len(found.names)} classes with the lowest recall" if many else ""
    known = f"{found.seeds} of {seeds}" if found.seeds < seeds else f"{seeds}"
    over = f", {known} seeds together" if seeds > 1 else ""
    mean = f"Mean recall (balanced accuracy) {recall:.4f}, mean F1 {f1:.4f}{over}{which}."
    return "\n\n".join([mean, _table(table), _confusion(found)])


def _confusion(found: ClassScores) -> str:
    if len(found.names) <= WHOLE:
        names = [plain(name)[:8] for name in found.names]
        rows = [[name, *counts] for name, counts in zip(names, found.matrix().tolist(), strict=True)]
        return f"Examples by class (down) and predicted class (across):\n\n{tabulate(rows, ['', *names], 'plain')}"
    wrong = found.taken[found.taken["true number"] != found.taken["predicted number"]].head(MOST)
    if wrong.empty:
        return "No class was taken for another."
    pairs = [
        {"class": plain(row["true"]), "taken for": plain(row["predicted"]), "examples": row["count"]}
        for row in wrong.to_dict("records")
    ]
    return f"The most frequent confusions:\n\n{_table(pairs)}"


def _pairs(row: Any, names: Sequence[str]) -> str:
    """Two columns; what is not there or empty is left out."""
    there = [(name, _text(row[name])) for name in names if row.get(name) not in (None, "", [], {})]
    return tabulate([(plain(name), text) for name, text in there], tablefmt="plain", disable_numparse=True)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    return str(tabulate(rows, "keys", "plain", disable_numparse=True)) if rows else ""


def _text(value: Any) -> str:
    if value is None:
        return ""
    text = plain(f"{value:.6g}" if isinstance(value, float) else value)
    return text if len(text) <= WIDE else f"{text[:WIDE]}..."
