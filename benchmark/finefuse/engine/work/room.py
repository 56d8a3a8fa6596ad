"""How much of a GPU's memory the inputs of a job may take: one budget for all its data sets."""

from __future__ import annotations

from dataclasses import dataclass

import torch

SHARE = 0.2
"""Of what is free on the GPU when a job begins, divided by the jobs that share it."""


@dataclass
class Room:
    """Bytes that are left on the device of the job that this process carries out."""

    left: int = 0

    def begin(self, device: str, jobs: int) -> None:
        """A job begins, on a device that so many share."""
        on_gpu = device.startswith("cuda")
        self.left = int(SHARE * torch.cuda.mem_get_info(device)[0] / jobs) if on_gpu else 0

    def take(self, size: int) -> bool:
        """Whether so many bytes fit; if they do, they are taken."""
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


room = Room()
