"""Rows that a scheduled run left, and what was really done."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

FIXTURES = Path(__file__).parents[1] / "fixtures"
VARIES = ("finished", "contended", "machine", "device")


def rows(folder: Path) -> list[dict]:
    path = folder / "out" / "records.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def steady(records: list[dict]) -> list[dict]:
    """What must not depend on how it was run, in one order."""
    plain = [{name: value for name, value in record.items() if name not in VARIES} for record in records]
    return sorted(plain, key=lambda record: record["cell"])


def statuses(records: list[dict]) -> dict[str, str]:
    return {record["label"]: record["status"] for record in records}


def reasons(records: list[dict]) -> dict[str, str]:
    return {record["label"]: record["reason"] for record in records}


def done(fake: ModuleType, folder: Path, what: str = "compute") -> list[str]:
    return [line["label"] for line in fake.log(folder / "store") if line["what"] == what]
