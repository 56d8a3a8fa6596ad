"""Notes on what makes lines of one table unlike in more than their strategies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain

import pandas as pd

from finefuse.judge.board.unequal import unequal_notes
from finefuse.rows import NARROW
from finefuse.types import Cell, Record

SETTINGS = ("precision", "threads", "channels_last", "compile", "tf32", "portable")
"""Fields of rows that lines of one table should agree in; the kind of device is one too."""
PARTS = (
    *("torch", "core", "instruction set of torch", "instruction set of oneDNN", "instruction set of MKL"),
    *("deterministic", "accumulate", "budget: epochs", "budget: steps", "budget: batch_size", "budget: schedule"),
    *("budget: augment", "budget: checkpoints", "budget: selection"),
)
"""The same of what went into their keys."""
CALLED = {"core": "version of results"}
"""What people call such a part."""
READ = ("content of the data set", "content of the backbone")
"""What was read from files, by parts that have the plugins' names."""
COUNTING = "counting of FLOPs"
"""The part that has the version by which FLOPs were counted."""
MEASURED = ("seconds", "cpu_seconds", "seconds_members", "seconds_before", "job_seconds", "peak_memory", "contended")
TIMED = ("latency.", "energy.")
LISTED = 5
"""Things that a note names."""


PROTOCOLS = {"costs": "Costs", "latency": "Latencies", "flops": "FLOPs"}
"""What is measured by protocols with versions of their own."""


def comparable(records: Sequence[Record], newest: Mapping[str, int]) -> Sequence[Record]:
    """The records, without what was measured by an older protocol than the newest."""
    return [_newest_alone(record, newest) if costed(record) else record for record in records]


def _newest_alone(record: Record, newest: Mapping[str, int]) -> Record:
    if cost_version(record) < newest[protocol_of(record)]:
        record = without_costs(record)
    if record.get("flops") is not None and counting(record) < newest["flops"]:
        record = {name: value for name, value in record.items() if name != "flops"}
    return record


def newest_costs(records: Iterable[Record]) -> dict[str, int]:
    """The newest version of each of `PROTOCOLS`; 0 where nothing was measured by one."""
    found = dict.fromkeys(PROTOCOLS, 0)
    for protocol, version in set(chain.from_iterable(map(_versions, filter(costed, records)))):
        found[protocol] = max(found[protocol], version)
    return found


def _versions(record: Record) -> Sequence[tuple[str, int]]:
    """By which versions of which protocols a row was measured."""
    one = protocol_of(record), cost_version(record)
    return (one,) if record.get("flops") is None else (one, ("flops", counting(record)))


def protocol_of(record: Record) -> str:
    """Which protocol a row's seconds or latency were measured by."""
    return "latency" if record["kind"] == "time" else "costs"


def costed(record: Record) -> bool:
    """Whether costs were measured: not of the bounds of a pool, and of what failed only the peak of memory."""
    return bool(record["status"] == "ok" and record["kind"] != "pool")


def without_costs(record: Record) -> Record:
    """The record without what was measured with a clock."""
    return {name: value for name, value in record.items() if name not in MEASURED and not name.startswith(TIMED)}


def cost_version(record: Record) -> int:
    """The version of the protocol by which a row's costs were measured; 1 where it doesn't say."""
    return int(record.get("costs") or 1)


def counting(record: Record) -> int:
    """The version by which a row's FLOPs were counted; 1 where it doesn't say, or says something else."""
    said = str((record.get("parts") or {}).get(COUNTING, ""))
    return int(said) if said.isdecimal() else 1


def noted_parts(record: Record) -> tuple[str | None, ...]:
    """What lines of one table should agree in of what went into a row's key: `PARTS`, then `READ`."""
    parts: Mapping[str, str] = record.get("parts") or {}
    return tuple(map(parts.get, (*PARTS, *names_of_content(record))))


def names_of_content(record: Record) -> tuple[str, str]:
    """The parts that say what the row's data set and backbone read from files."""
    return _content(record.get("dataset_use"), record.get("backbone_use"))


@lru_cache
def _content(dataset: str | None, backbone: str | None) -> tuple[str, str]:
    return f"dataset {dataset}: content", f"backbone {backbone}: content"


def fairness_notes(records: Sequence[Record], lines: pd.DataFrame) -> Iterator[str]:
    """One sentence for each difference."""
    ok = [record for record in records if record["status"] == "ok"]
    scored = [record for record in ok if Cell.of_line(record)]
    yield from _settings(scored)
    yield from unequal_notes(scored, lines)
    yield from _tuning(lines)
    yield from _costs(ok)
    yield from _latencies([record for record in ok if record["kind"] == "time"])
    days = sorted({str(record["finished"])[:10] for record in scored if record.get("finished")})
    if len(days) > 1:
        yield f"Rows were measured on {len(days)} days, from {days[0]} to {days[-1]}."


def _settings(scored: Sequence[Record]) -> Iterator[str]:
    """Settings and versions in which the rows of one table differ, and checkpoints selected in different ways."""
    found: dict[tuple[str, str], Counter[tuple[object, ...]]] = defaultdict(Counter)
    for record in scored:
        device = str(record.get("device") or "").partition(":")[0]
        found[record["dataset"], record["backbone"]][device, *map(record.get, SETTINGS), *noted_parts(record)] += 1
    told: dict[str, list[str]] = defaultdict(list)
    for (dataset, backbone), counts in found.items():
        for at, name in enumerate(("device", *SETTINGS, *PARTS, *READ)):
            each: Counter[str] = Counter()
            for settings, count in counts.items():
                if settings[at] is not None:
                    each[str(settings[at]).strip('"')] += count
            if len(each) > 1:
                shares = ", ".join(f"{value}: {count}" for value, count in sorted(each.items()))
                called = CALLED.get(name, name.removeprefix("budget: "))
                told[f"{called} ({shares})"].append(f"{dataset} · {backbone}")
    for difference, tables in told.items():
        more = f" and {len(tables) - 3} other tables" if len(tables) > 3 else ""
        yield f"Rows of one table differ in {difference}: {'; '.join(tables[:3])}{more}."


def _tuning(lines: pd.DataFrame) -> Iterator[str]:
    """Lines of one table that were searched with different numbers of trials, or beside some that were not.

    Schemes are held against schemes, and the fusions of a pool against each other.
    """
    scored = lines[lines["ok"] > 0]
    for (dataset, backbone, pool), group in scored.groupby(["dataset", "backbone", "pool"], sort=False):
        if group["trials"].nunique() > 1:
            searched = group[group["trials"] > 0]
            told = ", ".join(f"{name} {n}" for name, n in zip(searched["strategy"], searched["trials"], strict=True))
            rest = len(group) - len(searched)
            others = f"; none of {rest} others" if rest else ""
            where = f"{dataset} · {backbone}{f', pool {pool}' if pool else ''}"
            yield f"Unequal tuning on {where}: trials of {told}{others}."


def _costs(ok: Sequence[Record]) -> Iterator[str]:
    counts = Counter(chain.from_iterable(map(_versions, filter(costed, ok))))
    newest, older = dict.fromkeys(PROTOCOLS, 0), Counter[str]()
    for protocol, version in counts:
        newest[protocol] = max(newest[protocol], version)
    for (protocol, version), count in counts.items():
        if version < newest[protocol]:
            older[protocol] += count
    for protocol, count in older.items():
        yield (
            f"{PROTOCOLS[protocol]} of {count} row{'s' * (count > 1)} were measured by an older protocol and are left "
            f"out; those shown are of version {newest[protocol]}."
        )


def _latencies(timed: Sequence[Record]) -> Iterator[str]:
    """Latencies that a cap ended before their median was known, and those that are of another line."""
    vague = [
        f"{record['label']} on {record['backbone']} (b{name.split('.')[1]} ± {value:.0%})"
        for record in timed
        for name, value in record.items()
        if name.startswith("latency.") and name.endswith(".within") and value is not None and not value <= NARROW
    ]
    if vague:
        more = f" and {len(vague) - LISTED} more" if len(vague) > LISTED else ""
        yield f"Latencies whose median is not known to {NARROW:.0%}: {', '.join(vague[:LISTED])}{more}."
    shared = sum(record["cell"] not in record.get("latency_of", [record["cell"]]) for record in timed)
    if shared:
        yield f"Networks of one structure are timed once: {shared} of {len(timed)} latencies are those of another cell."
