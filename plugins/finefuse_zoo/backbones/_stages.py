"""Cuts networks of torchvision and timm into stages and a head. Apart from them, because it needs torch to be read.

How a family is cut is one line: stages apart by `|`, in each the parts that are called in turn. A part is a module by
its path (`layer1`, `classifier[:3]` for a slice of a `Sequential`), or one of `ADDED` for what the family's own
`forward` does without a module (`+flatten`). `path/` makes a stage of every child, `path*` a stage of every resolution.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

_PART = re.compile(r"(?P<path>[\w.]+)(?:\[(?P<start>\d*):(?P<stop>-?\d*)\])?(?P<each>[/*]?)")


class Rescale(nn.Module):
    """ImageNet's normalisation undone, and (x - 0.5) / 0.5 done: GoogLeNet and Inception v3 were trained on that."""

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        self.register_buffer("scale", (std / 0.5).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((mean - 0.5) / 0.5).view(3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape out."""
        return x * self.scale + self.shift


class PatchTokens(nn.Module):
    """Patches, class token and positions of torchvision's `VisionTransformer`."""

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.conv_proj, self.class_token = of.conv_proj, of.class_token
        self.pos_embedding, self.dropout = of.encoder.pos_embedding, of.encoder.dropout

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, side, side) to (N, 1 + patches, dim)."""
        patches = self.conv_proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(patches.shape[0], -1, -1), patches], dim=1)
        return self.dropout(x + self.pos_embedding)  # type: ignore[no-any-return]


class FirstToken(nn.Module):
    """(N, tokens, dim) to (N, dim): the class token."""

    def forward(self, x: Tensor) -> Tensor:
        """The first one."""
        return x[:, 0]


class Call(nn.Module):
    """A method of timm's models, on a model that has only some of its children, and the others passed over."""

    def __init__(self, model: nn.Module, children: Iterable[str], method: str, *, own: bool, **options: bool) -> None:
        super().__init__()
        part = copy.copy(model)
        part._modules = {
            name: child if child is None or name in children else nn.Identity()
            for name, child in model._modules.items()
        }
        part._parameters = dict(model._parameters) if own else {}
        self.part, self.method, self.options = part, method, options

    def forward(self, x: Tensor) -> Tensor:
        """What the method makes of it."""
        return getattr(self.part, self.method)(x, **self.options)  # type: ignore[no-any-return]


FRONT, BACK = ("patch_embed", "pos_drop", "patch_drop", "norm_pre"), ("attn_pool", "fc_norm", "head_drop")
ADDED: Mapping[str, Callable[[Any], nn.Module]] = {
    "flatten": lambda _: nn.Flatten(1),
    "pool": lambda _: nn.AdaptiveAvgPool2d(1),
    "relu": lambda _: nn.ReLU(),
    "rescale": lambda of: Rescale() if of.transform_input else nn.Identity(),
    "tokens": PatchTokens,
    "first": lambda _: FirstToken(),
    "front": lambda of: Call(of, FRONT, "forward_features", own=True),
    "back": lambda of: Call(of, BACK, "forward_head", own=False, pre_logits=True),
}
TORCHVISION: Mapping[str, str] = {
    "AlexNet": "features* avgpool +flatten | classifier[:3] | classifier[3:6]",
    "ConvNeXt": "features[:1] | features[1:2] | features[2:4] | features[4:6] | features[6:] avgpool classifier[:-1]",
    "DenseNet": "features[:4] | features[4:6] | features[6:8] | features[8:10] | features[10:] +relu +pool +flatten",
    "EfficientNet": "features* avgpool +flatten classifier[:-1]",
    "GoogLeNet": (
        "+rescale conv1 maxpool1 | conv2 conv3 maxpool2 | inception3a inception3b maxpool3 | "
        "inception4a inception4b inception4c inception4d inception4e maxpool4 | "
        "inception5a inception5b avgpool +flatten dropout"
    ),
    "Inception3": (
        "+rescale Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 | Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 | "
        "Mixed_5b Mixed_5c Mixed_5d | Mixed_6a Mixed_6b Mixed_6c Mixed_6d Mixed_6e | "
        "Mixed_7a Mixed_7b Mixed_7c avgpool dropout +flatten"
    ),
    "MNASNet": "layers* +pool +flatten classifier[:-1]",
    "MaxVit": "stem | blocks/ classifier[:2] | classifier[2:5]",
    "MobileNetV2": "features* +pool +flatten classifier[:-1]",
    "MobileNetV3": "features* avgpool +flatten | classifier[:-1]",
    "RegNet": "stem | trunk_output/ avgpool +flatten",
    "ResNet": "conv1 bn1 relu maxpool | layer1 | layer2 | layer3 | layer4 avgpool +flatten",
    "ShuffleNetV2": "conv1 maxpool | stage2 | stage3 | stage4 conv5 +pool +flatten",
    "SqueezeNet": "features* +pool +flatten classifier[:1]",
    "SwinTransformer": (
        "features[:1] | features[1:2] | features[2:4] | features[4:6] | features[6:] norm permute avgpool flatten"
    ),
    "VGG": "features* avgpool +flatten | classifier[:3] | classifier[3:6]",
    "VisionTransformer": "+tokens | encoder.layers/ | encoder.ln +first",
}
"""torchvision's classes of classification models, each with the parts of all its `forward` calls before the head."""
TIMM: Mapping[str, str] = {
    "ConvNeXt": "stem | stages/ norm_pre head",
    "EfficientNet": "conv_stem bn1 | blocks/ conv_head bn2 global_pool",
    "MobileNetV3": "conv_stem bn1 | blocks/ global_pool conv_head norm_head act2 flatten",
    "RegNet": "stem | s1 | s2 | s3 | s4 final_conv head",
    "ResNet": "conv1 bn1 act1 maxpool | layer1 | layer2 | layer3 | layer4 global_pool",
    "SwinTransformer": "patch_embed | layers/ norm head",
    "VGG": "features* | pre_logits head",
    "VisionTransformer": "+front | blocks/ | norm +back",
}
"""The same for classes of timm, whose classifier, which may be within `head`, has been taken out."""


def cut_timm(model: nn.Module, classifier: nn.Linear) -> list[nn.Sequential]:
    """The stages of a model of timm; one single stage where the family has no line, or its line is not all of it.

    Heads beside the classifier (VOLO's for tokens) are left out.
    """
    path = next(name for name, module in model.named_modules() if module is classifier)
    plan = TIMM.get(type(model).__name__)
    if plan is None:
        bare: Any = model
        bare.reset_classifier(0)
    model.set_submodule(path, nn.Identity())
    if plan is not None:
        stages = cut(model, plan)
        covered = {id(p) for stage in stages for p in stage.parameters()}
        if covered == {id(p) for p in model.parameters()}:
            return stages
    return [nn.Sequential(model)]


def cut(model: nn.Module, plan: str) -> list[nn.Sequential]:
    """The stages of a model that this line says; they share its modules. Each has parameters."""
    stages: list[list[nn.Module]] = []
    for line in plan.split("|"):
        stages.append([])
        for part in line.split():
            groups = _groups(model, part)
            stages[-1] += groups[0]
            stages += groups[1:]
    return [nn.Sequential(*stage) for stage in stages]


def _groups(model: nn.Module, part: str) -> list[list[nn.Module]]:
    """The modules that a part of a line names: in one group, or, with `/` or `*` behind it, in several."""
    if part.startswith("+"):
        return [[ADDED[part[1:]](model)]]
    match = _PART.fullmatch(part)
    assert match is not None, part
    module: Any = model.get_submodule(match["path"])
    if match["start"] is not None:
        module = module[int(match["start"] or 0) : int(match["stop"]) if match["stop"] else None]
        return [list(module)]
    if match["each"] == "/":
        return [[child] for child in module.children()]
    return by_resolution(module.children()) if match["each"] else [[module]]


def by_resolution(modules: Iterable[nn.Module]) -> list[list[nn.Module]]:
    """Split where the resolution is reduced: before a strided convolution, behind a pooling."""
    groups: list[list[nn.Module]] = [[]]
    pooled = False
    for module in modules:
        strided = any(isinstance(m, nn.Conv2d) and max(m.stride) > 1 for m in module.modules())
        if groups[-1] and (pooled or strided):
            groups.append([])
        groups[-1].append(module)
        pooled = isinstance(module, nn.MaxPool2d)
    return groups


def with_bias(head: nn.Linear) -> nn.Linear:
    """The head, with a bias of zeros where it has none (MaxViT's): schemes set the bias of any head."""
    if head.bias is None:
        head.bias = nn.Parameter(head.weight.new_zeros(head.out_features))
    return head
