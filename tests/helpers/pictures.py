"""scikit-learn's two sample pictures, which classes of ImageNet they show, and a data set of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from finefuse import Classification, Data, Entry, Splits, Task, hookimpl

PALACE, DAISY, HONEYCOMB = 698, 985, 599


def samples(side: int) -> torch.Tensor:
    """(2, 3, side, side), bytes: the square in the middle of a palace and a flower, reduced bicubically."""
    squares = []
    for picture in load_sample_images().images:
        height, width, _ = picture.shape
        left = (width - height) // 2
        image = Image.fromarray(picture).crop((left, 0, left + height, height))
        squares.append(np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)))
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous()


@dataclass(frozen=True)
class Samples:
    """Both pictures for training, validation and test: as classes of ImageNet, or as the only two there are."""

    imagenet: bool = True

    @property
    def task(self) -> Task:
        return Classification(1000 if self.imagenet else 2, "image", (3, 224, 224))

    def fingerprint(self) -> str:
        return "samples-1"

    def splits(self, seed: int) -> Splits:
        both = Data(samples(224), torch.tensor([PALACE, DAISY] if self.imagenet else [0, 1]))
        return Splits(self.task, both, both, both)


@hookimpl
def finefuse_datasets():
    yield Entry("samples", Samples, "a palace and a flower")
