"""Small networks for text that need no download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Len, Lt

from finefuse import NotApplicable, Task
from finefuse.types import Recipe, Vocabulary
from finefuse_zoo.backbones._sourced import Sourced

if TYPE_CHECKING:
    from finefuse.nets import Net

Dropout = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class TextCnn(Sourced):
    """Convolutional network for sentences (Kim 2014, arXiv 1408.5882): embedding, then convolutions and their maxima.

    Two stages. Takes token numbers (N, tokens) below `vocabulary`, as the data set `csv` makes them. There are
    `filters` for each of the `widths`, and dropout on the features. With `pretrained_on`, such as
    `{ use = "csv", train = "source.tsv", target = "label", text = "text" }`, it is pretrained on that data set for
    `pretrain_epochs` with AdamW at `pretrain_lr`; its `max_tokens` and `vocabulary` have to be the target's.
    """

    vocabulary: Annotated[int, Ge(3)] = 10000
    dim: Annotated[int, Ge(1)] = 64
    filters: Annotated[int, Ge(1)] = 64
    widths: Annotated[tuple[Annotated[int, Ge(1)], ...], Len(1)] = (3, 4, 5)
    dropout: Dropout = 0.5

    def refuses(self, task: Task, tokens: Vocabulary | None) -> str:
        """Inputs that are no texts, and token numbers beyond the vocabulary or with another padding than 0."""
        return refusal("text-cnn", task) or refusal_of_tokens("text-cnn", self.vocabulary, tokens)

    def build(self, task: Task) -> Net:
        """Weights as torch draws them.

        Raises:
            NotApplicable: if inputs are no texts.
        """
        from torch import nn

        from finefuse.nets import Net
        from finefuse_zoo.backbones._text import TokenEmbedding, WidestMatches

        refuse_all_but_text("text-cnn", task)
        stages = [
            TokenEmbedding(self.vocabulary, self.dim),
            WidestMatches(self.dim, self.filters, self.widths, self.dropout),
        ]
        return Net(stages, nn.Linear(len(self.widths) * self.filters, task.outputs), recipe())


@dataclass(frozen=True)
class TextTransformer(Sourced):
    """Transformer encoder with the LayerNorm in front: embedding with learned positions, blocks, mean over tokens.

    The embedding is a stage, so is each of `depth` blocks, and the last LayerNorm with the mean over tokens that are no
    padding. Takes token numbers (N, tokens) below `vocabulary`, as the data set `csv` makes them, and has vectors of
    `heads * head_width` numbers. Pretrained as `text-cnn` is. Vaswani et al. 2017, arXiv 1706.03762.
    """

    vocabulary: Annotated[int, Ge(3)] = 10000
    heads: Annotated[int, Ge(1)] = 4
    head_width: Annotated[int, Ge(1)] = 16
    depth: Annotated[int, Ge(1)] = 2
    dropout: Dropout = 0.1

    def refuses(self, task: Task, tokens: Vocabulary | None) -> str:
        """Inputs that are no texts, and token numbers beyond the vocabulary or with another padding than 0."""
        return refusal("text-transformer", task) or refusal_of_tokens("text-transformer", self.vocabulary, tokens)

    def build(self, task: Task) -> Net:
        """Weights as torch draws them.

        Raises:
            NotApplicable: if inputs are no texts.
        """
        from torch import nn

        from finefuse.nets import Net
        from finefuse_zoo.backbones._text import EncoderBlock, MeanOfTokens, TokenEmbedding

        refuse_all_but_text("text-transformer", task)
        dim = self.heads * self.head_width
        stages = [
            TokenEmbedding(self.vocabulary, dim, task.input_shape[0]),
            *(EncoderBlock(dim, self.heads, self.dropout) for _ in range(self.depth)),
            MeanOfTokens(nn.LayerNorm(dim)),
        ]
        return Net(stages, nn.Linear(dim, task.outputs), recipe())


def refuse_all_but_text(name: str, task: Task) -> None:
    """Nothing, for a task whose inputs are texts.

    Raises:
        NotApplicable: for all others.
    """
    if why := refusal(name, task):
        raise NotApplicable(why)


def refusal(name: str, task: Task) -> str:
    """Why a network of texts can't take a task's inputs; "" where they are texts."""
    if task.modality == "text" and len(task.input_shape) == 1:
        return ""
    return f"{name} takes texts (tokens,), not {task.modality} inputs of shape {task.input_shape}"


def refusal_of_tokens(name: str, size: int, tokens: Vocabulary | None) -> str:
    """Why an embedding of `size` numbers, of which 0 is padding, can't take these tokens; "" where it can."""
    if tokens is None:
        return ""
    if tokens.size > size:
        return f"{tokens.name} has {tokens.size} token numbers, and {name} takes {size}: say vocabulary = {tokens.size}"
    if tokens.padding not in (0, None):
        return f"{tokens.name} has {tokens.padding} for padding, and {name} takes 0 for it"
    return ""


def recipe() -> Recipe:
    """What they are fine-tuned with."""
    return Recipe("adamw", lr=1e-3, weight_decay=0.01, lr_of_head=0.03, lr_of_adapters=0.01)
