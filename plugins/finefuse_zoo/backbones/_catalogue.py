"""Models and weights of the installed torchvision, read from its source, so that plans need not import it."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_MODEL = re.compile(r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", flags=re.MULTILINE)


@cache
def model_files() -> Mapping[str, Path]:
    """Every classification model of torchvision, and the file that has it; empty where torchvision is not installed."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return {}
    files = sorted((Path(spec.origin).parent / "models").glob("*.py"))
    return {name: file for file in files for name in _MODEL.findall(file.read_text(encoding="utf-8"))}


@cache
def weights_of(model: str) -> Mapping[str, str]:
    """Names of the weights there are for a model, and of those "default" stands for: {"IMAGENET1K_V1": "...", ...}.

    The values are the names that these names mean, so that an alias leads to the one it stands for.
    """
    tree = ast.parse(model_files()[model].read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == model)
    kind = next(arg.annotation for arg in function.args.kwonlyargs if arg.arg == "weights")
    assert kind is not None
    known = {name.id for name in ast.walk(kind) if isinstance(name, ast.Name)}
    enum = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name in known)
    names: dict[str, str] = {}
    for line in enum.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            name = line.targets[0].id
            names[name] = names[line.value.id] if isinstance(line.value, ast.Name) else name
    return names
