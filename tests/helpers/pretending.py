"""A pretended GPU: tensors that say that they are on `cuda:0`, while they lie in the host's memory.

It computes what the processor computes, and complains as a real one would: of operands on two devices, of numbers drawn
by a generator of the processor, of NumPy. It counts its operations, and each time that the host waits for it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._C import _functorch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU, HOST = torch.device("cuda:0"), torch.device("cpu")
MEMORY = 8 * 1024**3
SOURCES = ("/benchmark/finefuse/", "/plugins/finefuse_zoo/")

aten = torch.ops.aten
TRANSFERS = {aten.copy_.default, aten._to_copy.default}
WAITS = {
    aten._local_scalar_dense.default: "a number is read",
    aten.equal.default: "tensors are compared",
    aten._linalg_check_errors.default: "an error code is read",
    aten._linalg_eigh.default: "an error code is read",
    aten._linalg_svd.default: "an error code is read",
    aten.lift_fresh.default: "numbers are uploaded",
    **dict.fromkeys(
        (aten.nonzero.default, aten.masked_select.default, aten._unique2.default, aten.unique_dim.default),
        "the size of a result is read",
    ),
    **dict.fromkeys((aten.bincount.default, aten.histc.default), "the largest number is read"),
}
"""Operations after which the host can't go on before the device has done all it was given."""
UNSURE = {
    aten.kthvalue.default, aten.median.dim, aten.put_.default, aten.histc.default, aten.max_unpool2d.default,
    aten.cumsum.default, aten.reflection_pad2d_backward.default, aten.replication_pad2d_backward.default,
    aten._adaptive_avg_pool2d_backward.default, aten.adaptive_max_pool2d_backward.default,
    aten.upsample_bilinear2d_backward.default, aten.upsample_bicubic2d_backward.default,
    aten.grid_sampler_2d_backward.default,
}  # fmt: skip
"""Operations of which torch warns in deterministic mode, because they may give other bits each time."""
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""Where the device takes positions from the host: it waits for them."""
MASKS = (torch.bool, torch.uint8)
STRICT = {
    aten.cat.default, aten.stack.default, aten.mm.default, aten.addmm.default, aten.bmm.default,
    aten.baddbmm.default, aten.convolution.default, aten.native_batch_norm.default, aten.gather.default,
}  # fmt: skip
"""What takes not even single numbers from the host."""


class PretendedGpu:
    """What lies on the device, and what has happened there so far.

    `operations` counts kernels by name, `waits` how often the host waited by (why, where), `unsure` operations that
    have no deterministic form by (name, where). `before` is called with the name of every kernel before it is launched,
    and may raise.
    """

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.waits: Counter[tuple[str, str]] = Counter()
        self.unsure: Counter[tuple[str, str]] = Counter()
        self.before: Callable[[str], None] = lambda _: None
        self.place: bool | None = None
        """Where results go whatever their operands: on the device, on the host, or as these are."""
        self.made = False
        """Whether results of no operands go to the device: inside a function of tensors that lie there."""
        self._there: dict[int, StorageWeakRef] = {}
        self._pinned: dict[int, StorageWeakRef] = {}

    def has(self, tensor: Tensor) -> bool:
        """Whether it lies on the device."""
        return _storage(tensor)._cdata in self._there

    def take(self, tensor: Tensor) -> None:
        """From now on it lies on the device."""
        _note(self._there, tensor)

    def pin(self, tensor: Tensor) -> Tensor:
        """A copy in memory that the device can read by itself; in any thread, unlike what the modes see."""
        copy = tensor.clone()
        _note(self._pinned, copy)
        return copy

    def is_pinned(self, tensor: Tensor) -> bool:
        """Whether it is such a copy, or a view of one."""
        return _storage(tensor)._cdata in self._pinned

    @contextmanager
    def placing(self, there: bool, *, made: bool = False) -> Iterator[None]:
        """Results, or with `made` those of no operands, lie there meanwhile."""
        before = self.place, self.made
        self.place, self.made = (self.place, there) if made else (there, self.made)
        try:
            yield
        finally:
            self.place, self.made = before

    def wait(self, why: str) -> None:
        """The host waits for the device."""
        self.waits[why, _where()] += 1


def tensors_in(*groups: Iterable[Any]) -> Iterator[Tensor]:
    """All tensors in these, and in lists and tuples of them."""
    for group in groups:
        for one in group:
            if isinstance(one, Tensor):
                yield one
            elif isinstance(one, list | tuple):
                yield from tensors_in(one)


def _note(known: dict[int, StorageWeakRef], tensor: Tensor) -> None:
    storage = _storage(tensor)
    if storage._cdata not in known:  # a weak reference keeps the address from being used again
        known[storage._cdata] = StorageWeakRef(storage)


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    with torch._C.DisableTorchFunction():
        while _functorch.is_functorch_wrapped_tensor(tensor):
            tensor = _functorch.get_unwrapped(tensor)
        return tensor.untyped_storage()


def _where() -> str:
    """The innermost line of finefuse that is being carried out."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        file = frame.f_code.co_filename
        if any(part in file for part in SOURCES):
            return f"{Path(file).name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


class _Answers(TorchFunctionMode):
    """Answers where tensors are, and moves them."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self._gpu = gpu
        self._told: dict[Any, Callable[[Tensor], object]] = {
            torch.Tensor.device.__get__: lambda x: GPU if gpu.has(x) else HOST,
            torch.Tensor.is_cuda.__get__: gpu.has,
            torch.Tensor.is_cpu.__get__: lambda x: not gpu.has(x),
            torch.Tensor.get_device: lambda x: 0 if gpu.has(x) else -1,
            torch.Tensor.is_pinned: gpu.is_pinned,
            torch.Tensor.cpu: lambda x: self._moved(x, HOST),
        }

    def __torch_function__(
        self, func: Any, _: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func in self._told and len(args) == 1:
            return self._told[func](args[0])
        if func is torch.Tensor.cuda:
            return self._moved(args[0], GPU)
        if func is torch.Tensor.to:
            return self._to(*args, **named)
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and self._gpu.has(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy; use Tensor.cpu() first")
        if func is torch.Tensor.__deepcopy__:
            copied = func(*args, **named)
            if self._gpu.has(args[0]):
                self._gpu.take(copied)
            return copied
        if named.get("device") is not None:
            goal = torch.device(named["device"]).type == "cuda"
            with self._gpu.placing(goal):
                return func(*args, **{**named, "device": HOST})
        if any(map(self._gpu.has, tensors_in(args, named.values()))):
            with self._gpu.placing(True, made=True):
                return func(*args, **named)
        return func(*args, **named)

    def _to(self, x: Tensor, *args: Any, copy: bool = False, **named: Any) -> Tensor:
        other = named.pop("other", args[0] if args and isinstance(args[0], Tensor) else None)
        if other is not None:
            return self._moved(x.to(other.dtype), GPU if self._gpu.has(other) else HOST)
        device, dtype, free, form = torch._C._nn._parse_to(*args, **named)
        device = device or (GPU if self._gpu.has(x) else HOST)
        changed = x.to(dtype or x.dtype, copy=copy, **({"memory_format": form} if form else {}))
        return self._moved(changed, device, free)

    def _moved(self, x: Tensor, device: torch.device, free: bool = False) -> Tensor:
        """The tensor there; the host waits, unless the device can fetch it by itself."""
        goal = device.type == "cuda"
        if self._gpu.has(x) == goal:
            return x
        if not (goal and free and self._gpu.is_pinned(x)):
            self._gpu.wait("moved to the device" if goal else "moved to the host")
        with self._gpu.placing(goal):
            return x.clone()


class _Kernels(TorchDispatchMode):
    """Sees every operation: whether its operands lie together, and where its results will."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self._gpu = gpu

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here, and importing the compiler takes seconds

    def __torch_dispatch__(
        self, func: Any, _: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        tensors = list(tensors_in(args, named.values()))
        there = [one for one in tensors if self._gpu.has(one)]
        elsewhere = [one for one in tensors if not self._gpu.has(one)]
        goal = bool(there) or (self._gpu.made and not tensors) if self._gpu.place is None else self._gpu.place
        if goal and any(isinstance(one, torch.Generator) for one in (*args, *named.values())):
            raise RuntimeError(f"{func}: Expected a 'cuda' device type for generator but found 'cpu'")
        if there and self._gpu.place is None:
            self._launched(func, args, named, elsewhere)
        elif goal and func in WAITS:
            self._gpu.wait(WAITS[func])
        out = func(*args, **named)
        if goal and not (func in TRANSFERS and not self._gpu.has(args[0])):
            for one in tensors_in([out]):
                self._gpu.take(one)
        return out

    def _launched(self, func: Any, args: tuple[Any, ...], named: Mapping[str, Any], elsewhere: list[Tensor]) -> None:
        """Count the operation, and complain of operands that are not on the device."""
        name = str(func).removeprefix("aten.")
        if not func.is_view:
            self._gpu.before(name)
            self._gpu.operations[name] += 1
        if func in WAITS:
            self._gpu.wait(WAITS[func])
        if func in INDEXED and any(one.dtype in MASKS for one in tensors_in(args[1])):
            self._gpu.wait("the size of a result is read")
        if func in UNSURE:
            self._gpu.unsure[name, _where()] += 1
        wrong = [one for one in elsewhere if one.ndim or func in STRICT]
        if wrong and func in TRANSFERS:
            if not (named.get("non_blocking") and all(map(self._gpu.is_pinned, wrong))):
                self._gpu.wait("copied across")
        elif wrong and func in INDEXED and self._gpu.has(args[0]):
            self._gpu.wait("positions are uploaded")
        elif wrong:
            shapes = ", ".join(str(tuple(one.shape)) for one in wrong)
            raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but {shapes} is on cpu")


@contextmanager
def pretended_gpu() -> Iterator[PretendedGpu]:
    """A GPU for a while: what of torch asks or sets a device is answered by it."""
    gpu = PretendedGpu()
    properties = SimpleNamespace(total_memory=MEMORY, name="Pretended", major=9, minor=0, uuid="0")
    answers: dict[str, Any] = {
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "device": lambda device: nullcontext(),
        "get_device_name": lambda device=None: "Pretended",
        "get_device_properties": lambda device=None: properties,
        "is_bf16_supported": lambda including_emulation=True: True,
        "get_rng_state": lambda device=None: torch.get_rng_state(),
        "set_rng_state": lambda state, device=None: torch.set_rng_state(state),
        "synchronize": lambda device=None: gpu.wait("asked to"),
        "empty_cache": lambda: None,
        "memory_allocated": lambda device=None: 0,
        "max_memory_allocated": lambda device=None: 2**20,
        "reset_peak_memory_stats": lambda device=None: None,
        "mem_get_info": lambda device=None: (MEMORY, MEMORY),
    }
    with ExitStack() as pretended:
        for name, answer in answers.items():
            pretended.enter_context(patch.object(torch.cuda, name, answer))
        pretended.enter_context(patch.object(torch.Tensor, "pin_memory", lambda x: gpu.pin(x)))
        pretended.enter_context(_Answers(gpu))
        pretended.enter_context(_Kernels(gpu))
        yield gpu
