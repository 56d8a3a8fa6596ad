"""Adapters by peft: put into the stages, trained together with the head, merged back into plain layers.

What peft 0.20 and 0.21 get wrong on convolutions: LoRA and DoRA build A without the dilation and can't merge where
there are groups; these two and LoHa merge wrongly where the padding isn't zeros. Where two layers share their weights
it merges the adapters of both into both. Such layers keep their weights. So do subclasses of Linear and Conv2d: the
output projection of torch's attention is one, and adapters in it would never be called.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from re import Pattern
from typing import TYPE_CHECKING, Any

import torch

from finefuse import NotApplicable, nets
from finefuse.types import Tuning

if TYPE_CHECKING:
    from torch import nn

    from finefuse.nets import Net


def zero_padded(layer: nn.Module) -> bool:
    """A linear layer, or a convolution that pads with zeros if at all."""
    return getattr(layer, "padding_mode", "zeros") == "zeros"


def ordinary(layer: nn.Module) -> bool:
    """A linear layer, or a convolution without groups and dilation that pads with zeros if at all."""
    dilation = getattr(layer, "dilation", (1,))
    return zero_padded(layer) and getattr(layer, "groups", 1) == 1 and set(dilation) == {1}


def linear(layer: nn.Module) -> bool:
    """A linear layer."""
    return type(layer) is torch.nn.Linear


def tune_adapters(
    on: Tuning,
    config: Any,
    *,
    lr: float | None,
    targets: Pattern[str] | None,
    fits: Callable[[nn.Module], bool] = lambda _: True,
    times: Callable[[str], float] = lambda _: 1.0,
) -> None:
    """Train the adapters of a peft `config` and the head, then merge the adapters.

    The adapters go into the linear and 2-d convolutional layers of the stages in whose names (`stages.1.0`) `targets`
    is found and that `fits` accepts. `times(name)` is what the rate of an adapter's parameter is multiplied by.
    Everything else, BatchNorm's statistics too, keeps its bits.

    Raises:
        NotApplicable: if there is no such layer.
    """
    import peft

    names = _layers(on.model, config.peft_type.value, targets, fits)
    on.figures["adapted_layers"] = len(names)
    config.target_modules = "|".join(name.replace(".", r"\.") for name in names)
    flags = [(p, p.requires_grad) for p in on.model.parameters()]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=on.rng)))
        adapted = peft.get_peft_model(on.model, config)
    rate = lr or on.model.recipe.lr_of_adapters or on.model.recipe.lr
    rates = {1.0: list(on.model.head.parameters())}
    for name, p in on.model.stages.named_parameters():
        if p.requires_grad:
            rates.setdefault(times(name), []).append(p)
    groups = [{"params": params, "lr": rate * factor} for factor, params in rates.items()]
    with _plain_state(on.model, adapted):
        on.trainer.fit(on.model, groups, norm="eval")
    adapted.merge_and_unload()
    for p, flag in flags:
        p.requires_grad_(flag)


@contextmanager
def _plain_state(model: nn.Module, adapted: Any) -> Iterator[None]:
    """Inside, `model.state_dict()` is that of the merged network, for those who keep the weights of a checkpoint."""

    def merge(module: nn.Module, state: dict[str, Any], _prefix: str, _metadata: dict[str, Any]) -> None:
        if module is model:  # and not the copy, which has this hook too
            plain = copy.deepcopy(adapted).merge_and_unload().state_dict()
            state.clear()
            state.update(plain)

    hook = model.register_state_dict_post_hook(merge)  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        hook.remove()


def _layers(net: Net, kind: str, targets: Pattern[str] | None, fits: Callable[[nn.Module], bool]) -> list[str]:
    plain, own = (torch.nn.Linear, torch.nn.Conv2d), nets.own_names(net)
    uses = Counter(own.values())
    layers = {name: layer for name, layer in net.stages.named_modules(prefix="stages") if type(layer) in plain}
    if not layers:
        raise NotApplicable("the stages have no linear or 2-d convolutional layer")
    wanted = {name: layer for name, layer in layers.items() if targets is None or targets.search(name)}
    if targets is not None and not wanted:
        raise NotApplicable(f"no layer's name has {targets.pattern!r} in it; there are {', '.join(layers)}")
    fitting = [name for name, layer in wanted.items() if fits(layer) and uses[own[f"{name}.weight"]] == 1]
    if not fitting:
        raise NotApplicable(
            f"peft's {kind} is right for none of the layers {', '.join(wanted)}: "
            "it fails at groups, dilation, a padding that isn't zeros, weights that layers share, "
            "and, for DoRA, an output whose weights are all 0"
        )
    return fitting
