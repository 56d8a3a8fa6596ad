"""Scores outputs on val and test; the only place that holds test labels beside test outputs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from finefuse.discovery import capabilities
from finefuse.errors import PluginError
from finefuse.rows import CLOSE, told
from finefuse.types import Data, Metric, Record, Splits


def score_fields(
    metrics: Mapping[str, Metric], splits: Splits, outputs: Mapping[str, Tensor], more: Mapping[str, Data]
) -> Record:
    """The fields of a row that say how good `outputs["val"]` and `outputs["test"]` are.

    `more` are further test sets by name, with their outputs as `also.<name>`. `last`, `best` and `peek` are the last
    weights, those best on val and those best on test, where these were kept. `correct` holds one bit per test example,
    packed, so that two runs can be compared in pairs from their rows alone, and `shares` names the metrics that count
    these; where answers are not right or wrong, `losses` holds a number for each example.
    """
    wanted = {name: metric for name, metric in metrics.items() if splits.task.kind in capabilities.metric_kinds(metric)}
    fields: Record = {"metrics": list(wanted)}
    for name, metric in wanted.items():
        fields[f"test.{name}"] = score_of(name, metric, outputs["test"], splits.test.y)
        fields[f"val.{name}"] = score_of(name, metric, outputs["val"], splits.val.y)
        fields[f"better.{name}"] = "higher" if capabilities.higher_is_better(metric) else "lower"
        for moment in ("last", "best", "peek"):
            if f"{moment}.test" in outputs:
                scored = score_of(name, metric, outputs[f"{moment}.test"], splits.test.y)
                fields[f"{moment}.test.{name}"] = scored
        for other, data in more.items():
            fields[f"also.{other}.{name}"] = score_of(name, metric, outputs[f"also.{other}"], data.y)
    right = splits.task.right(outputs["test"], splits.test.y)
    if right is not None:
        share = float(right.double().mean())
        fields["correct"] = pack(right)
        fields["shares"] = [name for name in wanted if abs(fields[f"test.{name}"] - share) <= CLOSE]
    else:
        fields["losses"] = pack_numbers(splits.task.losses(outputs["test"], splits.test.y))
    fields["n_test"] = len(splits.test)
    fields["examples"] = tensor_digest(splits.test.x, splits.test.y)
    fields["outputs"] = tensor_digest(outputs["test"])
    return fields


def score_of(name: str, metric: Metric, outputs: Tensor, y: Tensor) -> float:
    """The score that a metric gives, on the processor: some take far more memory on a GPU in deterministic mode.

    Raises:
        PluginError: if it is not a number.
    """
    score: object = metric.score(outputs.cpu(), y.cpu())
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise PluginError(f"the metric {name} gave {told(score)} as a score; a number was expected")
    return score


def pack(bits: Tensor) -> str:
    """Booleans (N,) as base64 of packed bits, the first in the highest bit."""
    return base64.b64encode(np.packbits(bits.cpu().numpy()).tobytes()).decode()


def pack_numbers(numbers: Tensor) -> str:
    """Numbers (N,) as base64 of float32, little-endian."""
    return base64.b64encode(numbers.detach().cpu().numpy().astype("<f4").tobytes()).decode()


def tensor_digest(*tensors: Tensor) -> str:
    """Digest of shapes, kinds and contents."""
    sha = hashlib.sha256()
    for tensor in tensors:
        array = tensor.detach().cpu().contiguous().numpy()
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()[:16]
