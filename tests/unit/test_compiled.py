"""Compiled networks, by a backend of torch's that only traces, so that no compiler is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo import config

from finefuse.engine.train.compiled import Compiled


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many operations every compiled version had."""
    found: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        found.append(len(graph.graph.nodes))
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda call, mode: real(call, backend=backend))
    yield found
    torch.compiler.reset()


def wide(width: int) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))


def test_every_network_is_compiled_however_many_were_before(seen: list[int]) -> None:
    for width in range(1, 11):
        with Compiled("default").compiling(wide(width)) as call:
            call(torch.ones(2, 4))
        assert len(seen) == width


def test_torch_giving_up_is_an_error(seen: list[int]) -> None:
    def of_all_shapes(call: Callable[[Tensor], Tensor]) -> None:
        for axes in range(1, 30):
            call(torch.ones([2] * axes))

    few = config.patch(cache_size_limit=8)  # torch's own; timm raises it for all when one of its modules is imported
    with few, Compiled("default").compiling(lambda x: x + 1) as call, pytest.raises(Exception, match="limit"):
        of_all_shapes(call)
    assert 2 <= len(seen) < 20


def test_how_long_it_takes_is_told_and_once(seen: list[int]) -> None:
    compiled, x = Compiled("default"), torch.ones(2, 4)
    with compiled.compiling(wide(5)) as call:
        assert compiled.seconds == 0
        call(x)
        first = compiled.seconds
        call(x)
    assert compiled.seconds == first > 0
    with compiled.compiling(wide(5)) as call:
        call(x)
    assert compiled.seconds > first


def test_off_is_the_network_itself(seen: list[int]) -> None:
    compiled, net = Compiled("off"), wide(5)
    with compiled.compiling(net) as call:
        assert call is net
    assert (compiled.seconds, seen) == (0.0, [])


@pytest.mark.slow
def test_a_row_says_what_of_its_seconds_was_compiling(workshop: Callable[..., Any], seen: list[int]) -> None:
    for mode, told in (("default", True), ("off", False)):
        rows = workshop(schemes=["full"], fusions=[], pools={}, latency=[], compile=mode).run("tune")
        assert ["seconds_compiling" in row for row in rows] == [told] * len(rows)
        assert all(0 < row["seconds_compiling"] < row["seconds"] for row in rows if told)
