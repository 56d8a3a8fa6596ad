"""What every job imports besides plugins, and does first: a worker has it before it forks. Starts no thread."""

import sys

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
if sys.platform == "linux" and not torch.cuda.is_available():  # elsewhere it would start threads
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a pool of more would not live through a fork, and jobs would wait for it
    warm_up("cpu")
    torch.set_num_threads(threads)
    machine_id()
