"""Certificates: which cells of a results folder were run again, by whom, and whether they came out the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from finefuse.errors import StoreError
from finefuse.files import write_whole
from finefuse.judge.board import present
from finefuse.judge.board.terminal import Readable
from finefuse.judge.gate.schemas import COUNT, TEXT, document_of, object_of
from finefuse.records import Records, reading
from finefuse.text import plain
from finefuse.types import Bullets, Heading

FILE = "verified.json"
"""The certificate's name in a results folder."""
SCHEMA = 1
Found = Literal["same", "close", "different"]
"""The same bits; within the tolerance on another kind of machine; or neither."""
_DIGEST = {**TEXT, "pattern": "^[0-9a-f]{64}$"}


@dataclass(frozen=True)
class Checked:
    """A row that was run again. `drawn` says that it was chosen, and not only needed by one that was."""

    cell: str
    key: str
    drawn: bool
    found: Found
    said: str = ""


@dataclass(frozen=True)
class Certificate(Readable):
    """What running cells again came to.

    `records` and `plan` are digests of what was checked. `seed` drew the cells, out of `of`. `machine` and
    `environment` say where they were run again, with which `versions`, and `tolerance` what was asked of rows of
    another kind of machine. `by` is who vouches for it, "" if that was not said.
    """

    suite: str
    records: str
    plan: str
    seed: int
    of: int
    checked: tuple[Checked, ...]
    machine: str
    environment: Mapping[str, str]
    versions: Mapping[str, str]
    tolerance: str
    when: str
    by: str = ""
    schema: int = SCHEMA

    @cached_property
    def drawn(self) -> tuple[Checked, ...]:
        """The cells that were chosen."""
        return tuple(one for one in self.checked if one.drawn)

    @property
    def passed(self) -> bool:
        """Whether some rows were run again and none came out differently."""
        return bool(self.drawn) and not self.differing

    @cached_property
    def differing(self) -> tuple[Checked, ...]:
        """The rows that came out differently, needed ones too."""
        return tuple(one for one in self.checked if one.found == "different")

    def holds_for(self, folder: Path) -> bool:
        """Whether the folder's records and plan are still those that were checked."""
        return (self.records, self.plan) == digests(folder)

    def sentence(self) -> str:
        """What it comes to, for a board."""
        by = f", by {plain(self.by)}, {self.when[:10]}"
        if not self.passed:
            count, rows = len(self.differing), len(self.checked)
            return f"Not verified: {count} of {rows} rows that were run again came out differently{by}."
        close = sum(one.found == "close" for one in self.drawn)
        how = f" ({close} on another kind of machine, within the tolerance)" if close else " with the same bits"
        return f"Verified: {len(self.drawn)} of {self.of} cells were run again{how}{by}."

    def to_dict(self) -> dict[str, Any]:
        """The certificate as JSON, which `schema` describes."""
        told = asdict(self)
        return {"schema": self.schema, "passed": self.passed} | told | {"checked": list(told["checked"])}

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    def blocks(self) -> list[present.Block]:
        """The outcome, what it rests on, and a table of the cells."""
        title = "verified" if self.passed else "DIFFERENT"
        listed = [one for one in self.checked if one.drawn or one.found != "same"]
        rows = [
            (one.found, one.cell, one.said or ("" if one.drawn else "needed by a cell that was drawn"))
            for one in listed
        ]
        table = pd.DataFrame(rows, columns=["verdict", "cell", "reason"])
        return [Heading(f"{title}: {self.suite}", 1), Bullets(self._facts()), table]

    def _facts(self) -> tuple[str, ...]:
        needed = len(self.checked) - len(self.drawn)
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"Seed {self.seed} drew {len(self.drawn)} of {self.of} cells; {needed} more rows were run that they need.",
            f"Run again on {self.machine}; {versions}.",
            f"Rows of another kind of machine: {self.tolerance}",
            "Seconds, latency, energy and memory were not checked.",
            f"records.jsonl has the sha256 {self.records}.",
        )


def schema() -> dict[str, Any]:
    """The JSON Schema (Draft 2020-12) of a certificate."""
    texts = {"type": "object", "additionalProperties": TEXT}
    one = {
        "cell": TEXT,
        "key": {**TEXT, "description": "The content address of what was run; empty for a cell that has no row."},
        "drawn": {"type": "boolean", "description": "Whether it was chosen, and not only needed by one that was."},
        "found": {"enum": list(get_args(Found)), "description": "Whether it came out as its row says."},
        "said": {**TEXT, "description": "Why, in a few words."},
    }
    properties = {
        "schema": {"const": SCHEMA},
        "passed": {"type": "boolean", "description": "Whether some were run again and none came out differently."},
        "suite": TEXT,
        "records": {**_DIGEST, "description": "The sha256 of records.jsonl."},
        "plan": {**_DIGEST, "description": "The sha256 of the planned cells and their keys."},
        "seed": {"type": "integer", "description": "What drew the cells."},
        "of": {**COUNT, "description": "How many cells could be drawn."},
        "checked": {"type": "array", "items": object_of(one)},
        "machine": {**TEXT, "description": "Where they were run again."},
        "environment": {**texts, "description": "The parts of keys that are the machine's."},
        "versions": texts,
        "tolerance": {**TEXT, "description": "What was asked of rows of another kind of machine."},
        "when": {**TEXT, "format": "date-time"},
        "by": {**TEXT, "description": "Who vouches for it; empty if that was not said."},
    }
    return document_of("finefuse certificate", properties)


def digests(folder: Path) -> tuple[str, str]:
    """The sha256 of a folder's records, and of its planned cells with their keys.

    Raises:
        StoreError: if they can't be read.
    """
    records = Records(folder)
    with reading(records.file):
        content = records.file.read_bytes()
    planned = records.read_plan()
    cells = sorted((str(cell), key) for cell, key in planned[1].items()) if planned else []
    return hashlib.sha256(content).hexdigest(), hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def write_certificate(certificate: Certificate, folder: Path) -> Path:
    """Leave the certificate beside the records.

    Raises:
        StoreError: if it can't be written.
    """
    path = folder / FILE
    write_whole(path, certificate.to_json())
    return path


def read_certificate(folder: Path) -> Certificate | None:
    """The certificate beside the records; None if there is none.

    Raises:
        StoreError: if the file is no certificate.
    """
    path = folder / FILE
    if not path.exists():
        return None
    with reading(path):
        content = path.read_bytes()
    try:
        told = json.loads(content)
        known = {name: told[name] for name in (one.name for one in fields(Certificate))}
        checked = tuple(Checked(**one) for one in known.pop("checked"))
        certificate = Certificate(**known, checked=checked)
    except (ValueError, TypeError, KeyError, RecursionError):
        certificate = None
    if certificate is None or not _sound(certificate):
        raise StoreError(f"{path}: not a certificate of schema {SCHEMA}; `finefuse verify` writes one.")
    return certificate


def _sound(certificate: Certificate) -> bool:
    texts = (getattr(certificate, name) for name in ("suite", "records", "plan", "machine", "tolerance", "when", "by"))
    known = all(one.found in get_args(Found) and type(one.drawn) is bool for one in certificate.checked)
    return (
        known
        and certificate.schema == SCHEMA
        and all(isinstance(text, str) for text in texts)
        and type(certificate.of) is int
    )


def certificate_notes(folder: Path) -> tuple[str, ...]:
    """What a board says of the certificate beside its records: whether it counts, and for what."""
    try:
        certificate = read_certificate(folder)
        if certificate is None:
            return ()
        if not Records(folder).file.exists():
            return (f"{FILE} can't be checked: the records are not here.",)
        if certificate.holds_for(folder):
            return (certificate.sentence(),)
    except StoreError as error:
        return (str(error),)
    return (f"{FILE} is of other records than these, so it doesn't count.",)
