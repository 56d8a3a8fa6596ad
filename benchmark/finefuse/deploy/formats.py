"""The files a module can be exported to: torch's graphs, ONNX, or weights alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from finefuse.engine.measure.latency import batch_of
from finefuse.errors import FinefuseError
from finefuse.nets import Net, evaluation

AGREEMENT = 1e-4
"""How far the outputs of a file may differ from the module's."""
SIZES = (1, 3)
"""Batch sizes at which the two are compared."""
ONNX_BYTES = 2**31
"""More than one ONNX file can hold."""
CONSTANTS = "Attempted to insert a get_attr Node|Node lifted_tensor"
"""What torch before 2.7 says of constants that it puts into a graph itself, and takes out again."""


@dataclass(frozen=True)
class Written:
    """What a file came to: `fixed` is why it takes one example at a time, "" where it takes any number."""

    fixed: str = ""
    check: str = ""


def write(model: nn.Module, x: Tensor, file: Path) -> Written:
    """Write a module in evaluation mode, on the CPU, in the format that the file's ending names.

    `x` are examples of its inputs; what they hold doesn't get into the file, but graphs are tried on them.

    Raises:
        FinefuseError: with the reason, if the format can't hold it, or holds something else than the module.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", CONSTANTS, UserWarning)
        return _FORMATS[file.suffix](model, x, file)


def _pt2(model: nn.Module, x: Tensor, file: Path) -> Written:
    program, fixed = traced(model, x)
    torch.export.save(program, file)
    return Written(fixed, _compared(torch.export.load(file).module(), model, x, fixed))


def _onnx(model: nn.Module, x: Tensor, file: Path) -> Written:
    if sum(tensor.nbytes for tensor in model.state_dict().values()) >= ONNX_BYTES:
        raise FinefuseError(
            "it has 2 GiB of weights or more, which one ONNX file can't hold; export it to a .pt2 file."
        )
    program, fixed = traced(model, x)
    names: dict[str, Any] = {"input_names": ["x"], "output_names": ["outputs"]}
    if not fixed:
        names["dynamic_shapes"] = _any_number()
    try:
        exported = torch.onnx.export(program, (_example(x, fixed),), dynamo=True, verbose=False, **names)
    except Exception as error:  # torch raises many kinds
        raise FinefuseError(f"ONNX can't express it ({_root(error)}); export it to a .pt2 file.") from error
    assert exported is not None
    exported.save(file)
    if find_spec("onnxruntime") is None:
        return Written(fixed, "not run, because onnxruntime is not installed")
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return Written(
        fixed, _compared(lambda part: torch.from_numpy(session.run(None, {"x": part.numpy()})[0]), model, x, fixed)
    )


def _safetensors(model: nn.Module, _: Tensor, file: Path) -> Written:
    from safetensors.torch import save_file

    if not isinstance(model, Net):
        raise FinefuseError("an ensemble is more than its weights; export it to a .pt2 file.")
    apart = {k: v.clone(memory_format=torch.contiguous_format) for k, v in model.state_dict().items()}
    save_file(apart, file, metadata={"format": "pt"})
    return Written()


_FORMATS: dict[str, Callable[[nn.Module, Tensor, Path], Written]] = {
    ".pt2": _pt2,
    ".onnx": _onnx,
    ".safetensors": _safetensors,
}


def traced(model: nn.Module, x: Tensor) -> tuple[ExportedProgram, str]:
    """The module as a graph for any number of examples, or, where that can't be, for one, and why.

    The graph doesn't contain the paths of its source files.

    Raises:
        FinefuseError: with the reason, if it has no graph.
    """
    fixed = ""
    with evaluation(model):
        try:
            program = torch.export.export(model, (_example(x, ""),), dynamic_shapes=_any_number(), strict=False)
        except Exception as error:  # torch raises many kinds, and the module may be a plugin's
            fixed = f"torch finds no graph for any number of examples: {_root(error)}"
            program = _for_one(model, _example(x, fixed))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    learned = {name: tensor for name, tensor in program.constants.items() if isinstance(tensor, Tensor)}
    for name, tensor in learned.items():  # a part of a larger tensor would be saved with all of it, and a warning
        program.constants[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
    return (program if all(tensor.is_cpu for tensor in learned.values()) else _on_cpu(program)), fixed


def _any_number() -> tuple[dict[int, Any]]:
    """What torch calls it."""
    return ({0: torch.export.Dim("batch", min=1)},)


def _example(x: Tensor, fixed: str) -> Tensor:
    return torch.zeros_like(batch_of(x, 1 if fixed else 2))


def _for_one(model: nn.Module, one: Tensor) -> ExportedProgram:
    try:
        return torch.export.export(model, (one,), strict=False)
    except Exception as error:
        raise FinefuseError(f"torch.export finds no graph for it: {_root(error)}") from error


def _on_cpu(program: ExportedProgram) -> ExportedProgram:
    """Tensors that a `combine` learned on a GPU, and what is done with them, moved as well."""
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, "cpu")


def _compared(call: Callable[[Tensor], Tensor], model: nn.Module, x: Tensor, fixed: str) -> str:
    """Compare the file with the module, and say how close it is."""
    sizes, apart = (1,) if fixed else SIZES, 0.0
    with evaluation(model):
        for part in (batch_of(x, size) for size in sizes):
            ours, theirs = model(part), call(part)
            apart = max(apart, difference(ours, theirs))
            if not torch.allclose(ours, theirs, atol=AGREEMENT, rtol=AGREEMENT, equal_nan=True):
                raise FinefuseError(f"the file gives other outputs than the module, by up to {apart:.2g}.")
    return f"read back, for {' and '.join(map(str, sizes))} at a time: within {apart:.1g} of the module's outputs"


def difference(one: Tensor, other: Tensor) -> float:
    """The largest difference, where both are numbers."""
    return float((one - other).abs().nan_to_num().max())


def _root(error: BaseException) -> str:
    """The first line of what went wrong in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
