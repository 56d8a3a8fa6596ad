"""Heads that are made of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Len

from finefuse import FinefuseError, NotApplicable
from finefuse.types import Tuning
from finefuse_zoo.backbones import _weights
from finefuse_zoo.schemes._prompts import read_prompts


@dataclass(frozen=True)
class TextHead:
    """CLIP without training: the head is the embeddings of class names, times CLIP's `logit_scale` (2103.00020).

    The backbone's own text tower embeds them. The sentences of a class are its name, as the data set has it, in each of
    the `templates`; or those that `prompts` gives it, a JSON file of a list for each class, by name. Classes of a data
    set that names none are their numbers, and in the order of that file. Embeddings are brought to length 1, averaged
    over the sentences, and brought to length 1 again. In place of all that, `file` is a file of the head: `weight`
    (classes, width), and a `bias` or none. As the `probe` of `frozen-head` it makes the protocol of published merges of
    CLIP: `{ use = "frozen-head", of = "full", probe = "text-head" }`. Checked against the `logits_per_image` of
    transformers' `CLIPModel`.
    """

    templates: Annotated[tuple[str, ...], Len(1)] = ("a photo of a {}.",)
    prompts: Path | None = None
    file: Path | None = None
    takes_steps: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ("classification",)

    def __post_init__(self) -> None:
        if self.file is not None and self.prompts is not None:
            raise ValueError("prompts are for the text tower, and a file has a head that is ready: leave one out")
        if wrong := [template for template in self.templates if template.count("{}") != 1]:
            raise ValueError(f"a template has one {{}} for the name of the class, not {wrong[0]!r}")
        for file in (self.prompts, self.file):
            if file is not None and not file.is_file():
                raise ValueError(f"the file {file} does not exist")

    def tune(self, on: Tuning) -> None:
        """Put the head in.

        Raises:
            NotApplicable: if the backbone has no text tower.
            FinefuseError: if prompts are for other classes, or a file can't be read or doesn't fit.
        """
        import torch

        head = on.model.head
        if self.file is not None:
            state = _weights.read(self.file, head)
            _weights.fit(head, {"bias": torch.zeros_like(head.bias), **state}, f"{self.file}, as the head,")
            return
        if on.text_head is None:
            raise NotApplicable("this backbone has no tower for text, which a head of class names needs")
        weight = on.text_head(self._sentences(on.class_names, on.task.outputs))
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.zero_()

    def _sentences(self, names: Sequence[str], count: int) -> list[Sequence[str]]:
        """The sentences of each class, in the order of the class numbers."""
        if self.prompts is None:
            return [[template.replace("{}", name) for template in self.templates] for name in names]
        told = read_prompts(self.prompts)
        unnamed = list(names) == [str(number) for number in range(count)] and not set(names) & told.keys()
        order = list(told) if unnamed else names
        if lacking := [name for name in order if name not in told]:
            raise FinefuseError(f"{self.prompts} has no sentences for the class {lacking[0]!r}")
        if len(told) != count:
            raise FinefuseError(f"{self.prompts} has sentences for {len(told)} classes, and the task {count}")
        return [told[name] for name in order]
