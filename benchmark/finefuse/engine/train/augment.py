"""Training images changed at random, a whole batch at once on its device; drawn from torch's global generator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from finefuse.errors import NotApplicable
from finefuse.types import Task

Change = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
MIXING = frozenset({"mixup", "cutmix"})
"""Those that mix labels as well: targets become shares of classes."""
MARGIN = 8
"""A crop moves by up to this part of the side: 4 pixels of 32."""


def augmentation(names: Sequence[str], task: Task) -> Change | None:
    """Inputs (N, C, H, W) and class numbers to inputs and class numbers, or shares (N, classes) where labels are mixed.

    Raises:
        NotApplicable: if these are no images, or labels to be mixed no classes.
    """
    if not names:
        return None
    if task.modality != "image":
        raise NotApplicable(f"{', '.join(names)} change images, and these are {task.modality} inputs")
    if not task.mixes and MIXING.intersection(names):
        mixing = ", ".join(sorted(MIXING.intersection(names)))
        raise NotApplicable(f"{mixing} mix targets, and those of {task.kind} can't be mixed")
    changes = [_MAKERS[name](task) for name in names]

    def change(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        for one in changes:
            x, y = one(x, y)
        return x, y

    return change


def _flip(_: Task) -> Change:
    def flip(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        turned = torch.rand(len(x), device=x.device) < 0.5
        return torch.where(turned[:, None, None, None], x.flip(-1), x), y

    return flip


def _crop(_: Task) -> Change:
    def crop(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        margin = max(1, x.shape[-1] // MARGIN)
        padded = nn.functional.pad(x, (margin,) * 4)
        down, right = (torch.randint(2 * margin + 1, (len(x), 1), device=x.device) for _ in range(2))
        rows = down + torch.arange(x.shape[-2], device=x.device)
        columns = right + torch.arange(x.shape[-1], device=x.device)
        each = torch.arange(len(x), device=x.device)
        return padded[each[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2), y

    return crop


def _randaugment(task: Task) -> Change:
    from torchvision.transforms import v2

    channels = task.input_shape[0]
    if channels not in (1, 3):
        raise NotApplicable(f"randaugment takes images of one channel or three, and these have {channels}")

    transform = v2.RandAugment()

    def randaugment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if x.dtype != torch.uint8:
            raise NotApplicable("randaugment takes images as bytes, and these are numbers")
        return torch.stack([transform(image) for image in x]), y

    return randaugment


def _mixing(name: str) -> Callable[[Task], Change]:
    def make(task: Task) -> Change:
        from torchvision.transforms import v2

        transform = (v2.MixUp if name == "mixup" else v2.CutMix)(num_classes=task.outputs)

        def mix(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            mixed: tuple[Tensor, Tensor] = transform(x.float() if name == "mixup" else x, y)
            return (mixed[0].round().to(x.dtype) if x.dtype == torch.uint8 else mixed[0]), mixed[1]

        return mix

    return make


_MAKERS: dict[str, Callable[[Task], Change]] = {
    "flip": _flip,
    "crop": _crop,
    "randaugment": _randaugment,
    "mixup": _mixing("mixup"),
    "cutmix": _mixing("cutmix"),
}
