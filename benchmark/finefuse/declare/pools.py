"""Flattens pools, which name schemes, other pools and backbones, to schemes and backbones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from finefuse.declare.schema import PoolShape
from finefuse.declare.suite_text import Source, show, suggest
from finefuse.types import Ref

EVERY = "*"


def flatten(source: Source, pools: Mapping[str, PoolShape], schemes: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """The labels of the schemes in each pool, without repetition, in the order in which they are named.

    `schemes` maps labels to plugin names. A pool may name a label, the name of a plugin, which means all its lines, or
    another pool, which contributes its schemes but not its copies, in this order; "*" is every scheme.

    Raises:
        SuiteError: about unknown names, repetitions, names taken by a scheme, and pools that contain themselves.
    """
    members: dict[str, tuple[str, ...]] = {}
    for name in pools:
        if name in schemes:
            raise source.error(("pools", name), "has the name of a scheme; give it another")
    for name in _inner_first(source, pools):
        places = [("pools", name, "of", i) for i in range(len(pools[name].of))]
        source.refuse_twins(zip(places, pools[name].of, strict=True))
        labels: list[str] = []
        for place, part in zip(places, pools[name].of, strict=True):
            found = [part] if part in schemes else [n for n, plugin in schemes.items() if part in (plugin, EVERY)]
            if not found and part not in members:
                hint = suggest(part, {*schemes, *pools} - {name})
                raise source.error(place, f"no scheme or pool is called {show(part)}{hint}")
            labels += found or members[part]
        members[name] = tuple(dict.fromkeys(labels))
    return members


def across(source: Source, name: str, pool: PoolShape, backbones: Sequence[Ref]) -> tuple[Ref, ...]:
    """The backbones that a pool is fused across; none for a pool that each backbone has separately.

    Raises:
        SuiteError: about unknown names, repetitions, and pools across a single backbone.
    """
    places = [("pools", name, "backbones", i) for i in range(len(pool.backbones or ()))]
    source.refuse_twins(zip(places, pool.backbones or (), strict=True))
    found: list[Ref] = []
    for place, part in zip(places, pool.backbones or (), strict=True):
        named = [ref for ref in backbones if part in (str(ref), ref.name, EVERY)]
        if not named:
            hint = suggest(part, map(str, backbones))
            raise source.error(place, f"no backbone of this suite is called {show(part)}{hint}")
        found += named
    if len(found) == 1:
        raise source.error(("pools", name, "backbones"), f"names {found[0]} alone; a pool across backbones needs two")
    return tuple(dict.fromkeys(found))


def _inner_first(source: Source, pools: Mapping[str, PoolShape]) -> list[str]:
    order = list(pools)
    inner = {name: [part for part in pool.of if part in pools] for name, pool in pools.items()}
    try:
        return list(TopologicalSorter(inner).static_order())
    except CycleError as error:
        circle = error.args[1][:0:-1]
        start = min(range(len(circle)), key=lambda i: order.index(circle[i]))
        names = [*circle[start:], *circle[: start + 1]]
        raise source.error(("pools", names[0]), f"contains itself: {' -> '.join(names)}") from None
