"""Encoders of Hugging Face for text."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge

from finefuse import FinefuseError, NotApplicable, Ref, Task
from finefuse.types import Budget, Recipe, Tuning
from finefuse_zoo.backbones.text import refuse_all_but_text
from finefuse_zoo.datasets._files import digest_of_text, digests, files_in
from finefuse_zoo.datasets._tokens import loaded, split_hub

if TYPE_CHECKING:
    from finefuse.nets import Net

WEIGHTS = (".safetensors", ".bin", ".json")
"""Endings of the files a network is read from."""


@dataclass(frozen=True)
class HfText:
    """An encoder of Hugging Face, such as BERT, RoBERTa, ELECTRA or DistilBERT, in stages, with a linear head.

    It comes from the folder `path`, as `save_pretrained` or a download of the hub makes it, or by
    `hub = "name@revision"`. Embeddings are the first stage, every `per_stage` layers one more, and the last ends in the
    mean over tokens ("mean") or in the first token ("first"). Inputs are token numbers of its own tokeniser: give the
    data set `csv` the same folder as `tokenizer`, or the same `tokenizer_hub`. There is one segment, and the pooler and
    heads in the files are left out. When it is built its stages are held against the whole network on one text.
    Recipe: AdamW at 5e-5, weight decay 0.01.
    """

    path: Path | None = None
    hub: str | None = None
    per_stage: Annotated[int, Ge(1)] = 1
    pool: Literal["mean", "first"] = "mean"
    source: ClassVar[Ref | None] = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.hub is None):
            raise ValueError('needs a path, or hub = "name@revision", and not both')
        if self.hub is not None:
            split_hub(self.hub)

    def fingerprint(self) -> str:
        """Digest of the files in the folder, or the name and revision.

        Raises:
            FinefuseError: if there is no such folder.
        """
        if self.path is None:
            return str(self.hub)
        if not self.path.is_dir():
            raise FinefuseError(f"{self.path}: there is no such folder; it should hold an encoder of Hugging Face")
        known = digests(self.path, [name for name in files_in(self.path) if name.endswith(WEIGHTS)])
        return digest_of_text(*known.keys(), *known.values())

    def budget(self) -> Budget:
        """Nothing is pretrained here."""
        return Budget()

    def tune(self, on: Tuning) -> None:
        """Nothing: the weights come as they are."""

    def build(self, task: Task) -> Net:
        """The encoder with its weights, and a fresh head.

        Raises:
            NotApplicable: if inputs are no texts, or longer than it takes.
            FinefuseError: if weights can't be had, are not whole, or the network is of another kind.
        """
        from torch import nn

        from finefuse.nets import Net
        from finefuse_zoo.backbones import _encoders

        refuse_all_but_text("hf-text", task)
        load = import_module("transformers").AutoModel.from_pretrained
        model, told = loaded(self.path, self.hub, load, "an encoder", output_loading_info=True)
        name = str(self.path or self.hub)
        _encoders.refuse_incomplete(model, told, name)
        stages = _encoders.cut(model, self.per_stage, self.pool, name)
        longest = _encoders.longest(model)
        if longest < task.input_shape[0]:
            raise NotApplicable(f"{name} takes {longest} tokens: set max_tokens of the data set")
        head = nn.Linear(model.config.hidden_size, task.outputs)
        return Net(stages, head, Recipe("adamw", lr=5e-5, weight_decay=0.01))
