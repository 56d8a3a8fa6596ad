"""What every job imports besides plugins: a worker has it before it forks. Computes nothing, starts no thread."""

import safetensors.torch
import sklearn.datasets
import torch
import torch._dynamo  # every optimizer imports it
import torchmetrics.functional
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from finefuse.engine.work import attempt, job

__all__ = ["attempt", "job", "safetensors", "sklearn", "torch", "torchmetrics"]


@dataclass
class _First:
    """The first model for which a process has pydantic look for its own plugins and build a schema."""

    number: float = 1.0


TypeAdapter(_First)
