"""What a plugin must leave as it was: the examples it is given, torch's switches, and the code that scores and times.

In its own process it harms only itself by changing them, but its row would be wrong: it fails instead.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import isclass
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from finefuse.engine.store.splits import content_of, named_tensors
from finefuse.engine.work import rounding
from finefuse.errors import PluginError
from finefuse.types import Splits

PARTS = {"train": "training", "val": "validation", "test": "test"}
SIDES = {"x": "inputs", "y": "targets"}
MOST = 3
"""Names in a sentence."""
MODULES = (
    "torch", "torch.autograd", "torch.linalg", "torch.nn.functional", "torch.nn.init", "torch.random", "torch.optim",
    "torch.utils.flop_counter", "torch.cuda", "torchmetrics.functional.classification",
    "torchmetrics.functional.regression", "builtins", "hashlib", "json", "math", "time",
)  # fmt: skip
"""Of others, what scores, outputs and costs are computed by."""
COUNTED = "torch.autograd"
"""Where a job counts what is called."""
PACKAGES = (
    "finefuse.nets", "finefuse.manyheads", "finefuse.batchnorm", "finefuse.rows", "finefuse.tasks",
    "finefuse.engine.measure", "finefuse.engine.store", "finefuse.engine.train", "finefuse.engine.work",
    "torch.nn.modules", "torch.optim.lr_scheduler",
)  # fmt: skip
"""Modules, and with them their submodules, whose classes are looked into as well."""
METHODS = (property, classmethod, staticmethod)
WRAPPERS = tuple(part for part in Optimizer.profile_hook_step.__code__.co_consts if type(part) is CodeType)
"""Code of what torch wraps a class's `step` in when the first optimizer of that class is made."""
HOOKS = ("_global_forward_pre_hooks", "_global_forward_hooks", "_global_backward_hooks", "_global_backward_pre_hooks")
"""Dicts of torch's that hold what is called with every module."""


@dataclass(frozen=True)
class Switch:
    """One of torch's, by what a person calls it."""

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


SWITCHES = (
    Switch("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Switch("torch's default device", torch.get_default_device, torch.set_default_device),
    Switch("torch's grad mode", torch.is_grad_enabled, lambda on: torch.set_grad_enabled(on)),
    Switch("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    Switch("torch's precision of products", rounding.rounding, rounding.put_back),
    Switch(
        "torch's deterministic algorithms",
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        lambda mode: torch.use_deterministic_algorithms(mode[0], warn_only=mode[1]),
    ),
    *(
        Switch(f"torch.backends.{where}.{name}", partial(getattr, owner, name), partial(setattr, owner, name))
        for where, owner, name in (
            ("cudnn", torch.backends.cudnn, "deterministic"),
            ("cudnn", torch.backends.cudnn, "benchmark"),
            ("mkldnn", torch.backends.mkldnn, "enabled"),
        )
    ),
)


@dataclass(frozen=True)
class Step:
    """The method `step` of a kind of optimizer: its own as it was, None if inherited; and without torch's wrapper."""

    kind: Any
    own: Any
    bare: Any
    inside: object


class Surroundings:
    """Torch's switches and the code that scores and times, as they are now; what is new later is not looked at."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._steps: list[Step] = []
        for name in MODULES:
            if name in sys.modules:
                self._note(name, sys.modules[name])
        for name in PACKAGES:
            for module in (sys.modules[name], *_submodules(sys.modules[name])):
                self.look_at(module)
        self._note("torch.Tensor", torch.Tensor)
        for kind in filter(_is_optimizer, vars(torch.optim).values()):
            self._note(f"torch.optim.{kind.__name__}", kind)
            bare = _bare(kind.step)
            self._steps.append(Step(kind, vars(kind).get("step"), bare, _inside(bare)))
        self._steps.sort(key=lambda step: len(step.kind.__mro__))  # what others inherit comes first
        self.a_job_begins()

    def a_job_begins(self) -> None:
        """What is set for each job, before any plugin has its say in it, is to stay as it is now."""
        self._switches = [(switch, switch.read()) for switch in SWITCHES]
        self._hooks = {name: dict(value) for name, value in vars(nn.modules.module).items() if name in HOOKS}
        self._note(COUNTED, sys.modules[COUNTED])

    def look_at(self, module: ModuleType) -> None:
        """The functions and classes of a module, and the methods of the classes that are its own."""
        self._note(module.__name__, module)
        for attribute, value in list(vars(module).items()):
            if isclass(value) and value.__module__ == module.__name__:
                self._note(f"{module.__name__}.{attribute}", value)

    def _note(self, name: str, owner: Any) -> None:
        code = {key: value for key, value in vars(owner).items() if _is_code(value)}
        if _is_optimizer(owner):
            code.pop("step", None)
        self._known[name] = owner, {key: (value, _inside(value)) for key, value in code.items()}

    def put_back(self) -> list[str]:
        """Undo what is different by now; what it was, by names that a person can look for."""
        found = []
        for switch, before in self._switches:
            if switch.read() != before:
                found.append(switch.name)
                switch.write(before)
        for name, (owner, code) in self._known.items():
            now = vars(owner)
            for key, (value, inside) in code.items():
                if now.get(key) is not value:
                    found.append(f"{name}.{key}")
                    setattr(owner, key, value)
                elif _inside(value) is not inside:
                    found.append(f"{name}.{key}")
                    value.__code__ = inside
        found += self._put_steps_back()
        for name, before in self._hooks.items():
            hooks = vars(nn.modules.module)[name]
            if dict(hooks) != before:
                found.append("hooks of all modules")
                hooks.clear()
                hooks.update(before)
        return list(dict.fromkeys(found))

    def _put_steps_back(self) -> list[str]:
        """The same for the step of each of torch's optimizers, which torch wraps by itself."""
        found = []
        for step in self._steps:
            if _bare(step.kind.step) is step.bare and _inside(step.bare) is step.inside:
                continue
            found.append(f"torch.optim.{step.kind.__name__}.step")
            if step.inside is not None:
                step.bare.__code__ = step.inside
            if step.own is not None:
                step.kind.step = step.own
            elif "step" in vars(step.kind):
                del step.kind.step
        return found


def _is_optimizer(value: object) -> bool:
    return isclass(value) and issubclass(value, Optimizer)


def _bare(step: Any) -> Any:
    """A method `step` without what torch has wrapped it in."""
    return _bare(step.__wrapped__) if _inside(step) in WRAPPERS else step


def _submodules(package: ModuleType) -> list[ModuleType]:
    """By what the package holds: to go through `sys.modules` writes to pages that a forked process still shares."""
    inner = f"{package.__name__}."
    return [
        value for value in vars(package).values() if isinstance(value, ModuleType) and value.__name__.startswith(inner)
    ]


def _is_code(value: object) -> bool:
    return callable(value) or isinstance(value, METHODS)


def _inside(value: object) -> object:
    return value.__code__ if type(value) is FunctionType else None


class Untouched:
    """The examples of a job as they were given to a plugin, and its surroundings."""

    def __init__(self, surroundings: Surroundings, **given: Splits | None) -> None:
        """`given` are splits by what they are for: `task`, or `source` for those of the pretraining."""
        self._surroundings = surroundings
        self._tensors = {
            f"{use}.{name}": tensor
            for use, splits in given.items()
            if splits is not None
            for name, tensor in named_tensors(splits).items()
        }
        self._contents = {name: content_of(tensor) for name, tensor in self._tensors.items()}

    def check(self) -> None:
        """Say what a plugin has changed.

        Raises:
            PluginError: with what it is.
        """
        if changed := self._surroundings.put_back():
            more = f" and {len(changed) - MOST} more" if len(changed) > MOST else ""
            raise PluginError(f"it changed {', '.join(changed[:MOST])}{more} and did not put that back")
        for name, tensor in self._tensors.items():
            if content_of(tensor) != self._contents[name]:
                raise PluginError(f"it changed {_in_words(name)} that it was given in place")


def _in_words(name: str) -> str:
    use, part, side = name.split(".")
    return f"the {PARTS[part]} {SIDES[side]}{' of the pretraining' if use == 'source' else ''}"
