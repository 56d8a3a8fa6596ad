"""How an exported file is used, for its card: its inputs, its outputs and an example. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from finefuse.types import Description

LISTED = 2048
"""Numbers of an example's input that are written out; larger ones are made by a formula."""


@dataclass(frozen=True)
class Example:
    """One example that was made up: its input, as nested lists or None where the formula gives it, and its outputs."""

    shape: tuple[int, ...]
    dtype: str
    outputs: Sequence[float]
    x: Any = None


@dataclass(frozen=True)
class Usage:
    """How a file is used, as its card says."""

    description: Description = field(default_factory=Description)
    example: Example | None = None


def formula(shape: Sequence[int], dtype: str) -> str:
    """Python for an input that needs no file: 0, 1, 2, ... in turn, below 251 (below 2 for token numbers)."""
    top = 2 if dtype == "int64" else 251
    scaled = "" if dtype in ("uint8", "int64") else f" / {top}"
    return f"(numpy.arange({prod(shape)}) % {top}{scaled}).reshape({[1, *shape]}).astype({dtype!r})"


def block(usage: Usage) -> list[str]:
    """A JSON block for programs, with all that has to be known to make inputs and read outputs."""
    told: dict[str, Any] = {"inputs": dict(usage.description.inputs), "outputs": dict(usage.description.outputs)}
    if usage.example is not None:
        example: dict[str, Any] = {"outputs": list(usage.example.outputs)}
        if usage.description.encode:
            example["raw"] = usage.description.example
        told["example"] = example | ({} if usage.example.x is None else {"x": usage.example.x})
    if not any(told.values()):
        return []
    return ["## Inputs and outputs", "", "```json", json.dumps(told, indent=1, ensure_ascii=False), "```", ""]


def loading(file: Path, usage: Usage) -> list[str]:
    """Python that needs no finefuse."""
    head = ["## To use it without finefuse", "", "```python"]
    if file.suffix == ".safetensors":
        code = ["from safetensors.torch import load_file", "", f'weights = load_file("{file.name}")']
        return [*head, *code, "```", "", "These are the weights alone, by name. A .pt2 file has the network as well."]
    return [*head, *_example(file, usage), *_call(file), "```"]


def _example(file: Path, usage: Usage) -> list[str]:
    """The lines that make `x`, (1, *shape), from the block of the card."""
    if usage.example is None:
        return []
    code = ["import json", "import pathlib", "import re", "", "import numpy", ""]
    code += [f'card = pathlib.Path("{file.name}.md").read_text(encoding="utf-8")']
    code += [r'told = json.loads(re.search("`{3}json\n(.*?)\n`{3}", card, re.DOTALL)[1])']
    if usage.description.encode:
        code += ["", usage.description.encode.strip(), "", ""]
        made = 'encode(told["example"]["raw"], told["inputs"])'
        return [*code, f"x = numpy.array([{made}], {usage.example.dtype!r})"]
    if usage.example.x is None:
        return [*code, f"x = {formula(usage.example.shape, usage.example.dtype)}"]
    return [*code, f'x = numpy.array([told["example"]["x"]], {usage.example.dtype!r})']


def _call(file: Path) -> list[str]:
    if file.suffix == ".onnx":
        run = 'outputs = session.run(None, {"x": x})[0]  # of the example: those in the card'
        return ["import onnxruntime", "", f'session = onnxruntime.InferenceSession("{file.name}")', run]
    run = "outputs = model(torch.from_numpy(x)).detach().numpy()  # of the example: those in the card"
    return ["import torch", "", f'model = torch.export.load("{file.name}").module()', run]
