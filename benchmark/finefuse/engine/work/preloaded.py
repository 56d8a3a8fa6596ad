"""What every job imports besides plugins, and does first: a worker has it before it forks. Starts no thread."""

import safetensors.torch
import sklearn.datasets
import torch
import torch._dynamo  # every optimizer imports it
import torchmetrics.functional
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from finefuse.engine.measure.cost import machine_id, warm_up
from finefuse.engine.work import attempt, job

__all__ = ["attempt", "job", "safetensors", "sklearn", "torch", "torchmetrics"]


@dataclass
class _First:
    """The first model for which a process has pydantic look for its own plugins and build a schema."""

    number: float = 1.0


TypeAdapter(_First)
if not torch.cuda.is_available():  # else it would start threads of CUDA's
    warm_up("cpu")
    machine_id()
