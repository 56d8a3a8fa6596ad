"""The image towers of CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge

from finefuse import FinefuseError, NotApplicable, Ref, Task
from finefuse.types import Budget, Recipe, Tuning, Vocabulary
from finefuse_zoo._hugging_face import check_place, digest_of_network, json_of

if TYPE_CHECKING:
    from torch import Tensor

    from finefuse.nets import Net

FILES = (".safetensors", ".bin", ".json")
"""Endings of the files that a network is read from."""
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""What CLIP's images were normalised by (2103.00020), where the folder has no preprocessor_config.json."""


@dataclass(frozen=True)
class Clip:
    """The image tower of a CLIP, such as ViT-B/32, in stages, with a linear head on embeddings of length 1.

    It is read from the folder `path`, made by `save_pretrained` or a download of the hub, or from
    `hub = "name@commit"`. The patches are the first stage, every `per_stage` blocks one more, the projection is the
    last. Images are resized to the tower's own side (bilinear, antialiased; CLIP's own are resized by a cubic and
    cropped). The head is fresh; the scheme `text-head` puts the embeddings of class names there, and `frozen-head`
    leaves them. When it is built its stages are compared with the whole tower. Recipe: AdamW at 1e-5 with
    `weight_decay`, which is Adam where that is 0. Checked against the `logits_per_image` of transformers' `CLIPModel`.
    """

    path: Path | None = None
    hub: str | None = None
    per_stage: Annotated[int, Ge(1)] = 1
    weight_decay: Annotated[float, Ge(0)] = 0.1
    source: ClassVar[Ref | None] = None

    def __post_init__(self) -> None:
        check_place(self.path, self.hub)

    def fingerprint(self) -> str:
        """Digest of the files in the folder, or the name and revision.

        Raises:
            FinefuseError: if there is no such folder.
        """
        return digest_of_network(self.path, self.hub, FILES, "a CLIP")

    def refuses(self, task: Task, tokens: Vocabulary | None) -> str:  # noqa: ARG002
        """Inputs that are no images.

        Raises:
            FinefuseError: if the folder holds another network.
        """
        self._config()
        shape = task.input_shape
        if task.modality == "image" and len(shape) == 3 and shape[0] in (1, 3):
            return ""
        return f"clip takes images of one or three channels, not {task.modality} inputs of shape {shape}"

    def _config(self) -> Mapping[str, Any]:
        """What config.json says; nothing where that is not on this machine yet.

        Raises:
            FinefuseError: if it isn't that of a CLIP.
        """
        config = json_of(self.path, self.hub, "config.json")
        if config is None and self.path is not None:
            raise FinefuseError(f"{self.path}: there is no config.json; the folder should hold a CLIP of Hugging Face")
        kind = "clip" if config is None else config.get("model_type")
        if kind not in ("clip", "clip_vision_model"):
            raise FinefuseError(
                f"{self.path or self.hub} is a {kind!r}, and clip takes a 'clip' or 'clip_vision_model'"
            )
        return config or {}

    def budget(self) -> Budget:
        """Nothing is pretrained here."""
        return Budget()

    def tune(self, on: Tuning) -> None:
        """Nothing: the weights come as they are."""

    def text_head(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """For each class the mean embedding of its sentences, at length `logit_scale`.

        Raises:
            FinefuseError: if the tower for text or its tokeniser can't be had or are not whole.
        """
        from finefuse_zoo.backbones._clip import text_weights

        return text_weights(self.path, self.hub, sentences)

    def build(self, task: Task) -> Net:
        """The tower with its weights, and a fresh head.

        Raises:
            NotApplicable: if inputs are no images.
            FinefuseError: if weights can't be had or are not whole.
        """
        from torch import nn

        from finefuse.nets import Net
        from finefuse_zoo.backbones import _clip

        if why := self.refuses(task, None):
            raise NotApplicable(why)
        told = json_of(self.path, self.hub, "preprocessor_config.json") or {}
        mean, std = told.get("image_mean", MEAN), told.get("image_std", STD)
        stages, width = _clip.image_tower(self.path, self.hub, self.per_stage, mean, std)
        return Net(stages, nn.Linear(width, task.outputs), Recipe("adamw", lr=1e-5, weight_decay=self.weight_decay))
