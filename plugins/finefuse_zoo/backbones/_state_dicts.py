"""The state dict in a checkpoint: what it is nested in, which of several is taken, what its names begin with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from finefuse import FinefuseError

if TYPE_CHECKING:
    from torch import Tensor

USUAL = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module", "backbone")
"""Keys under which a checkpoint holds its state dict; of several the first is taken."""
AVERAGED = re.compile(r"(^|_)(ema|shadow|swa|averaged?)(_|$)")
"""In keys of weights that are averages of the ones that were trained."""
BESIDE = re.compile(r"optim|sched|scaler|loss|criterion|rng|config|args|param_groups")
"""In keys of what else a checkpoint holds."""
PREFIXES = ("module.", "_orig_mod.")
"""What `DataParallel` and `torch.compile` put before every name."""
COUNTER = "n_averaged"
"""What torch's `AveragedModel` has beside the weights."""
DEPTH = 4
SHOWN = 3


def state_dict(content: Any, who: str, key: str | None = None) -> tuple[dict[str, Tensor], str]:
    """The state dict in a checkpoint, as it is named there, and a remark if another could have been meant.

    `key` is the one that it stands under, "a.b" for one in another.

    Raises:
        FinefuseError: if there is none, more than one without a usual name, or it holds something else than tensors.
    """
    remark = ""
    content = _under(content, key, who) if key else content
    for _ in range(DEPTH):
        if not isinstance(content, Mapping) or not (found := _tables(content)):
            break
        taken = _chosen(found, who)
        if len(found) > 1 or AVERAGED.search(taken):
            names = ", ".join(found)
            remark = f"{who}: of {names} the weights under {taken!r} are taken; `weights_key` chooses others"
        content = found[taken]
    if not isinstance(content, Mapping) or not content:
        raise FinefuseError(f"{who} holds no state dict, but a {type(content).__name__}")
    return _tensors(content, who), remark


def without_prefix(state: Mapping[str, Tensor], own: Iterable[str] = ()) -> dict[str, Tensor]:
    """The same with names as the network `own` has them: without what all of them begin with, if that fits better."""
    found = {name: tensor for name, tensor in state.items() if name != COUNTER}
    while prefix := next((p for p in PREFIXES if found and all(name.startswith(p) for name in found)), ""):
        found = {name.removeprefix(prefix): tensor for name, tensor in found.items()}
    known, parts = set(own), [name.split(".") for name in found]
    columns = zip(*(part[:-1] for part in parts), strict=False)
    longest = len(list(takewhile(lambda column: len(set(column)) == 1, columns)))
    fitting = [sum(".".join(part[cut:]) in known for part in parts) for cut in range(longest + 1)]
    cut = fitting.index(max(fitting))
    return {".".join(part[cut:]): tensor for part, tensor in zip(parts, found.values(), strict=True)}


def some(names: Iterable[str]) -> str:
    """The first few of them."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _tables(content: Mapping[Any, Any]) -> dict[str, Mapping[str, Any]]:
    """What may be a state dict inside, by key; none where the content is one itself."""
    import torch

    tables = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Mapping)}
    return {
        key: value
        for key, value in tables.items()
        if value
        and not BESIDE.search(key)
        and (key in USUAL or AVERAGED.search(key) or all(isinstance(t, torch.Tensor) for t in value.values()))
    }


def _chosen(found: Mapping[str, Any], who: str) -> str:
    plain = [key for key in found if not AVERAGED.search(key)]
    usual = [key for key in USUAL if key in plain]
    if not usual and len(plain) > 1:
        raise FinefuseError(f"{who} holds several state dicts: say weights_key = one of {', '.join(plain)}")
    return (usual or plain or list(found))[0]


def _under(content: Any, key: str, who: str) -> Any:
    for part in [key] if isinstance(content, Mapping) and key in content else key.split("."):
        if not isinstance(content, Mapping) or part not in content:
            has = [str(name) for name in content] if isinstance(content, Mapping) else []
            near = get_close_matches(part, has, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there is {some(has)}" if has else ""
            raise FinefuseError(f"{who} has nothing under the key {part!r}{hint}")
        content = content[part]
    return content


def _tensors(content: Mapping[Any, Any], who: str) -> dict[str, Tensor]:
    import torch

    other = [str(name) for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if other:
        raise FinefuseError(f"{who} holds no state dict: {some(other)} {'are' if other[1:] else 'is'} no tensor")
    for name, tensor in content.items():
        if kind := _strange(tensor):
            raise FinefuseError(f"{who} holds a tensor that can't be used: {name} {kind}")
    return {str(name): tensor for name, tensor in content.items()}


def _strange(tensor: Tensor) -> str:
    """What a tensor is that is no plain one, as the end of a sentence."""
    import torch

    if tensor.device.type == "meta":
        return "is on the meta device, and so has no values"
    if tensor.is_quantized:
        return f"is quantised ({tensor.dtype}): save it dequantised"
    if tensor.layout != torch.strided:
        return f"is sparse ({tensor.layout}): save it dense"
    return "is complex" if tensor.is_complex() else ""
