"""The noise of a machine's runs, as `finefuse calibrate` measured it, kept for whoever compares on it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from platformdirs import user_config_path

from finefuse.errors import StoreError
from finefuse.files import write_whole
from finefuse.judge.board import present
from finefuse.judge.gate.policy import NOISY
from finefuse.records import reading
from finefuse.types import Record

NOISE = {"train_s": 0.2, "latency": 0.2, "memory": 0.1}
"""The standard deviation of a logarithm from run to run, where it was not measured: that of hosted runners."""
SCHEMA = 1


class Setting(NamedTuple):
    """What noise is a property of: the machine as rows name it, the kind of device, and threads per job."""

    machine: str
    device: str
    threads: int

    @classmethod
    def of(cls, row: Record) -> Setting:
        """That of a row."""
        device = str(row.get("device") or "").partition(":")[0]
        return cls(str(row.get("machine") or ""), device, int(row.get("threads") or 1))


@dataclass(frozen=True)
class Calibration:
    """The noise of a machine, by measure: the standard deviation of the logarithm from one run to the next.

    It rests on `pairs` of runs of `suite`. Of `compared` comparisons among these, each judged by the noise of the other
    pairs, `alarms` found something slower or larger. `visible` is the smallest growth of a line's measure, as a share,
    that would have been seen with a chance of 80 %.
    """

    machine: str
    device: str
    threads: int
    suite: str
    pairs: int
    noise: Mapping[str, float]
    alarms: int
    compared: int
    visible: Mapping[str, float]
    when: str
    schema: int = SCHEMA

    @property
    def setting(self) -> Setting:
        """What it holds for."""
        return Setting(self.machine, self.device, self.threads)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return asdict(self)

    def paste(self) -> str:
        """The lines of a suite that say the same."""
        told = ", ".join(f"{name} = {value:.3g}" for name, value in self.noise.items())
        return f"[gate]\nnoise = {{ {told} }}"

    def to_markdown(self) -> str:
        """The noise beside what is assumed without it, what it lets the gate see, and how often it was wrong."""
        rows = [
            (name, *(f"{100 * share:.3g} %" for share in (value, NOISE[name], self.visible.get(name, math.inf))))
            for name, value in self.noise.items()
        ]
        said = (
            f"{self.pairs} pairs of runs of {self.suite}, each judged both ways by the noise of the other pairs: "
            f"{self.alarms} of {self.compared} comparisons raised a false alarm.",
            "A line must be slower or larger by the last column to be seen with a chance of 80 %.",
            "Comparisons of rows of this machine use this noise where nothing else is said; a suite may say it itself:",
        )
        where = f"{self.device}, {self.threads} thread{'s' * (self.threads > 1)} per job"
        table = pd.DataFrame(rows, columns=["metric", "noise", "assumed without", "visible"])
        parts = (
            present.title(f"calibrated: {self.machine}, {where}", 1, "markdown"),
            present.draw(table, "markdown"),
            present.bullets(said, "markdown"),
            f"```toml\n{self.paste()}\n```",
        )
        return "\n\n".join(parts)

    def sentence(self) -> str:
        """What a comparison that used it says."""
        told = ", ".join(f"{name} {100 * value:.2g} %" for name, value in self.noise.items())
        return (
            f"The noise of runs on {self.machine} is as calibrated with {self.pairs} pairs, {self.when[:10]}: {told}."
        )


def folder() -> Path:
    """Where calibrations lie: `finefuse/noise` in the user's folder of settings."""
    return user_config_path("finefuse", appauthor=False) / "noise"


def write(calibration: Calibration) -> Path:
    """Keep a calibration, in place of an earlier one for the same machine, device and threads.

    Raises:
        StoreError: if it can't be written.
    """
    path = _file(calibration.setting)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{path.parent}: can't be made: {error.strerror or error}.") from error
    write_whole(path, json.dumps(calibration.to_dict(), indent=1) + "\n")
    return path


def known(rows: Iterable[Record]) -> dict[Setting, Calibration]:
    """The calibrations there are for the machines of these rows.

    Raises:
        StoreError: if one can't be read.
    """
    found = {setting: _read(_file(setting)) for setting in {Setting.of(row) for row in rows}}
    return {setting: one for setting, one in sorted(found.items()) if one is not None}


def _file(setting: Setting) -> Path:
    return folder() / f"{hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> Calibration | None:
    if not path.exists():
        return None
    with reading(path):
        content = path.read_bytes()
    try:
        told = json.loads(content)
        found = Calibration(**{one.name: told[one.name] for one in fields(Calibration)})
        numbers = [type(value) is float and 0 < value < math.inf for value in found.noise.values()]
        sound = found.schema == SCHEMA and all(numbers) and set(found.noise) <= set(NOISY)
    except (ValueError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise StoreError(f"{path}: not a calibration of schema {SCHEMA}; delete it, or run `finefuse calibrate` again.")
    return found
