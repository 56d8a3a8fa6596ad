"""What people train with instead, each on the same job: full fine-tuning of `cnn-s` on 100 digits by SGD and a cosine.

Every way has the same batches of 32, epochs and rate, and leaves out logs, checkpoints and validation. Each is given a
network and trains it in place. The order of the batches is each way's own.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from contests import loops, training
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from finefuse.types import Budget
from finefuse_zoo.schemes.full import Full

BATCH = 32
Way = Callable[[Any], object]


def data() -> TensorDataset:
    """100 digits as a data set of torch."""
    train = training.digits().train
    return TensorDataset(train.x, train.y)


def steps(epochs: int) -> int:
    """The steps of a run, batches that an epoch leaves over included."""
    return epochs * math.ceil(len(data()) / BATCH)


def cosine(optimizer: torch.optim.Optimizer, epochs: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A rate that falls along half a cosine to 0."""
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps(epochs))


def finefuse(epochs: int) -> Way:
    """The engine."""
    budget = Budget(epochs, BATCH)
    return lambda net: Full().tune(training.tuning(net, training.digits(), budget))


def bare(epochs: int) -> Way:
    """A loop over tensors in memory."""
    return training.plain(training.digits(), Budget(epochs, BATCH), 100, "careful")


def loader(epochs: int) -> Way:
    """A loop over a DataLoader, which hands over one example after the other."""

    def train(net: Any) -> None:
        batches = DataLoader(data(), BATCH, shuffle=True)
        optimizer = loops.make_optimizer(net.parameters(), net.recipe)
        schedule = cosine(optimizer, epochs)
        net.train()
        for _ in range(epochs):
            for x, y in batches:
                optimizer.zero_grad()
                nn.functional.cross_entropy(net(x), y).backward()
                optimizer.step()
                schedule.step()

    return train


def timm(epochs: int) -> Way:
    """The steps of timm's training script, with its optimizer, schedule and averages."""
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from timm.utils import AverageMeter

    def train(net: Any) -> None:
        batches = DataLoader(data(), BATCH, shuffle=True)
        recipe, losses, done = net.recipe, AverageMeter(), 0
        decay, momentum = recipe.weight_decay, recipe.momentum
        optimizer = create_optimizer_v2(net, opt=recipe.optimizer, lr=recipe.lr, weight_decay=decay, momentum=momentum)
        schedule = CosineLRScheduler(optimizer, t_initial=steps(epochs), t_in_epochs=False)
        net.train()
        for _ in range(epochs):
            for x, y in batches:
                loss = nn.functional.cross_entropy(net(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                losses.update(loss.item(), len(x))
                schedule.step_update(done)

    return train


class _Classifier(nn.Module):
    """A network as Hugging Face's Trainer wants it: it computes its loss itself."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The loss and the outputs."""
        outputs = self.net(x)
        return {"loss": nn.functional.cross_entropy(outputs, labels), "logits": outputs}


def hugging_face(epochs: int) -> Way:
    """Hugging Face's Trainer."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    def collate(rows: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, torch.Tensor]:
        return {"x": torch.stack([x for x, _ in rows]), "labels": torch.stack([y for _, y in rows])}

    def train(net: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder, num_train_epochs=epochs, per_device_train_batch_size=BATCH, lr_scheduler_type="cosine",
                learning_rate=net.recipe.lr, report_to=[], save_strategy="no", logging_strategy="no", use_cpu=True,
                disable_tqdm=True, dataloader_pin_memory=False, max_grad_norm=0.0, remove_unused_columns=False,
            )  # fmt: skip
            optimizer = loops.make_optimizer(net.parameters(), net.recipe)
            optimizers = (optimizer, cosine(optimizer, epochs))
            model = _Classifier(net)
            more = {"data_collator": collate, "optimizers": optimizers}
            trainer = Trainer(model, arguments, train_dataset=data(), **more)
            trainer.remove_callback(PrinterCallback)
            trainer.train()

    return train


def by_lightning(epochs: int) -> Way:
    """Lightning's Trainer."""
    import lightning

    class Module(lightning.LightningModule):  # type: ignore[misc]
        """A network with its step."""

        def __init__(self, net: Any) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            """The loss."""
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            """The recipe's."""
            optimizer = loops.make_optimizer(self.net.parameters(), self.net.recipe)
            return [optimizer], [{"scheduler": cosine(optimizer, epochs), "interval": "step"}]

    def train(net: Any) -> None:
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = lightning.Trainer(max_epochs=epochs, accelerator="cpu", enable_model_summary=False, **quiet)
        trainer.fit(Module(net), DataLoader(data(), BATCH, shuffle=True))

    return train


TRAINING: dict[str, tuple[str, Callable[[int], Way]]] = {
    "bare loop": ("torch", bare),
    "DataLoader loop": ("torch", loader),
    "timm's loop": ("timm", timm),
    "Trainer (Hugging Face)": ("accelerate", hugging_face),
    "Lightning": ("lightning", by_lightning),
}
"""The package that a way needs, and what makes the way."""
