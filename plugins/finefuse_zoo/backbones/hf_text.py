"""Encoders of Hugging Face for text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from finefuse import FinefuseError, NotApplicable, Ref, Task
from finefuse.types import Budget, Recipe, Tuning, Vocabulary
from finefuse_zoo._hugging_face import check_place, digest_of_network, json_of, vocabulary
from finefuse_zoo.backbones._whole import whole
from finefuse_zoo.backbones.text import refusal

if TYPE_CHECKING:
    from finefuse.nets import Net

WEIGHTS = (".safetensors", ".bin", ".json")
"""Endings of the files a network is read from."""
KINDS = (
    "bert",
    "bert-generation",
    "camembert",
    "data2vec-text",
    "distilbert",
    "electra",
    "ernie",
    "mobilebert",
    "roberta",
    "splinter",
    "xlm-roberta",
)
"""Networks of transformers that compute what their embeddings and layers do one after the other."""
COUNTING = ("camembert", "data2vec-text", "roberta", "xlm-roberta")
"""Those that count positions from behind the number of the padding token."""


@dataclass(frozen=True)
class HfText:
    """An encoder of Hugging Face, such as BERT, RoBERTa, ELECTRA or DistilBERT, in stages, with a linear head.

    It is read from the folder `path`, made by `save_pretrained` or a download of the hub, or from
    `hub = "name@revision"`. Embeddings are the first stage, every `per_stage` layers one more, and the last ends in the
    mean over tokens ("mean") or in the first token ("first"). Inputs are token numbers of its own tokeniser: give the
    data set `csv` the same folder as `tokenizer`, or the same `tokenizer_hub`. There is one segment, and the pooler and
    heads in the files are left out. When it is built its stages are compared with the whole network on one text.
    Recipe: AdamW at 5e-5, weight decay 0.01.
    """

    path: Path | None = None
    hub: str | None = None
    per_stage: Annotated[int, Ge(1)] = 1
    pool: Literal["mean", "first"] = "mean"
    source: ClassVar[Ref | None] = None

    def __post_init__(self) -> None:
        check_place(self.path, self.hub)

    def fingerprint(self) -> str:
        """Digest of the files in the folder, or the name and revision.

        Raises:
            FinefuseError: if there is no such folder.
        """
        return digest_of_network(self.path, self.hub, WEIGHTS, "an encoder")

    def refuses(self, task: Task, tokens: Vocabulary | None) -> str:
        """Inputs that are no texts or too long, and tokens that are others than the network's own.

        Raises:
            FinefuseError: if the network is not one of `KINDS`.
        """
        if why := refusal("hf-text", task):
            return why
        config = self._config()
        longest = longest_of(config)
        if longest is not None and longest < task.input_shape[0]:
            return f"{self._name} takes {longest} tokens: set max_tokens of the data set"
        return self._refusal_of(tokens, config) if tokens is not None else ""

    @property
    def _name(self) -> str:
        return str(self.path or self.hub)

    def _config(self) -> Mapping[str, Any]:
        """What config.json says; nothing where that is not on this machine yet.

        Raises:
            FinefuseError: if the network is not one of `KINDS`.
        """
        config = json_of(self.path, self.hub, "config.json") or {}
        kind = config.get("model_type")
        if kind is not None and kind not in KINDS:
            raise FinefuseError(f"{self._name} is a {kind!r}, and hf-text takes {', '.join(KINDS[:-1])} or {KINDS[-1]}")
        if config.get("is_decoder"):
            raise FinefuseError(f"{self._name} is a decoder, and hf-text takes encoders")
        return config

    def _refusal_of(self, tokens: Vocabulary, config: Mapping[str, Any]) -> str:
        own = vocabulary(self.path, self.hub)
        here = "path" if self.path is not None else "hub"
        advice = f"give the data set the `{here}` of hf-text as `tokenizer{'' if here == 'path' else '_hub'}`"
        said = f"{tokens.name} is another tokeniser than that of {self._name}"
        if own is not None and tokens.digest and own.digest != tokens.digest:
            return f"{said}: {advice}"
        size = config.get("vocab_size", tokens.size)
        if tokens.size > size:
            return f"{said}: it has {tokens.size} token numbers and not {size}; {advice}"
        padding = padding_of(config)
        if config and tokens.padding is not None and tokens.padding != padding:
            return f"{said}: it has {tokens.padding} for padding and not {padding}; {advice}"
        return ""

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

        if why := self.refuses(task, None):
            raise NotApplicable(why)
        model = whole(self.path, self.hub, "AutoModel", "an encoder")
        stages = _encoders.cut(model, self.per_stage, self.pool, self._name)
        longest = _encoders.longest(model)
        if longest < task.input_shape[0]:
            raise NotApplicable(f"{self._name} takes {longest} tokens: set max_tokens of the data set")
        head = nn.Linear(model.config.hidden_size, task.outputs)
        return Net(stages, head, Recipe("adamw", lr=5e-5, weight_decay=0.01))


def padding_of(config: Mapping[str, Any]) -> int:
    """The number of the padding token."""
    return int(config.get("pad_token_id", 1 if config.get("model_type") in COUNTING else 0) or 0)


def longest_of(config: Mapping[str, Any]) -> int | None:
    """How many tokens a network takes by its configuration."""
    positions: int | None = config.get("max_position_embeddings")
    behind = padding_of(config) + 1 if config.get("model_type") in COUNTING else 0
    return None if positions is None else positions - behind
