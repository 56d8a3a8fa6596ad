"""Flattens pools, which name schemes, other pools, backbones and data sets, to schemes, backbones and data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter

from finefuse.declare.schema import PoolShape
from finefuse.declare.suite_text import Source, show, suggest
from finefuse.declare.toml_lines import KeyPath
from finefuse.types import Ref, Statistics

EVERY = "*"
SUBSETS = 5
"""How many subsets of each size are drawn where a suite doesn't say."""


@dataclass(frozen=True)
class Pool:
    """What is fused: `copies` members of each of the schemes whose labels are in `of`.

    It may be across `backbones`, or across `datasets`: then `statistics` is the policy for BatchNorm, and the scheme
    `probe` tunes what is merged for the data sets that are `held_out`. For each of the `sizes`, `subsets` of its tasks,
    or of its members of one task, are fused too.
    """

    name: str
    of: tuple[str, ...]
    copies: int
    backbones: tuple[Ref, ...] = ()
    datasets: tuple[Ref, ...] = ()
    statistics: Statistics = "shared"
    held_out: tuple[Ref, ...] = ()
    probe: str = ""
    sizes: tuple[int, ...] = ()
    subsets: int = SUBSETS


def make_pools(
    source: Source, shapes: Mapping[str, PoolShape], schemes: Mapping[str, str], plain: Mapping[str, Sequence[Ref]]
) -> list[Pool]:
    """The pools of a suite, of schemes by label with the names of their plugins; `plain` has its other plugins by key.

    Raises:
        SuiteError: about names that are unknown, given twice or alone, and keys that don't go together.
    """
    members, pools = flatten(source, shapes, schemes), []
    for name, shape in shapes.items():
        if shape.backbones and shape.datasets:
            raise source.error(("pools", name, "datasets"), "a pool is across backbones or across data sets, not both")
        for key in ("statistics", "held_out", "probe"):
            if getattr(shape, key) and not shape.datasets:
                raise source.error(("pools", name, key), "is for pools across data sets; give `datasets` too")
        held = _held_out(source, name, shape, schemes, plain["datasets"])
        known = {"backbones": plain["backbones"], "datasets": [ref for ref in plain["datasets"] if ref not in held]}
        backbones, datasets = (across(source, name, key, getattr(shape, key), refs) for key, refs in known.items())
        policy, probe = shape.statistics or "shared", shape.probe or ""
        pool = Pool(name, members[name], shape.copies, backbones, datasets, policy, held, probe)
        pools.append(_with_sizes(source, pool, shape))
    return pools


def _with_sizes(source: Source, pool: Pool, shape: PoolShape) -> Pool:
    """The pool with what its curve is over."""
    path, sizes = ("pools", pool.name, "sizes"), shape.sizes or ()
    if shape.subsets and not sizes:
        raise source.error((*path[:2], "subsets"), "goes with `sizes`")
    source.refuse_twins(((*path, i), str(size)) for i, size in enumerate(sizes))
    whole = len(pool.datasets) or len(pool.of) * pool.copies * max(len(pool.backbones), 1)
    for i, size in enumerate(sizes):
        if size > whole:
            raise source.error((*path, i), f"is {size}, and the pool has {whole} {_parts(pool)}")
    return replace(pool, sizes=tuple(sizes), subsets=shape.subsets or SUBSETS)


def _parts(pool: Pool) -> str:
    """What a pool's curve counts."""
    return "data sets" if pool.datasets else "members"


def _held_out(
    source: Source, name: str, shape: PoolShape, schemes: Mapping[str, str], datasets: Sequence[Ref]
) -> tuple[Ref, ...]:
    """The data sets that a pool holds out, with a scheme to tune for them."""
    if bool(shape.held_out) != bool(shape.probe):
        given, lacking = ("held_out", "probe") if shape.held_out else ("probe", "held_out")
        raise source.error(("pools", name, given), f"goes with `{lacking}`: data sets, and the label of a scheme")
    if shape.probe and shape.probe not in schemes:
        hint = suggest(shape.probe, schemes)
        raise source.error(("pools", name, "probe"), f"no scheme is called {show(shape.probe)}{hint}")
    found = across(source, name, "held_out", shape.held_out, datasets)
    for i, part in enumerate(shape.datasets or ()):
        if part in map(str, found):
            raise source.error(("pools", name, "datasets", i), f"{part} is held out")
    return found


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
        of = pools[name].of or ()
        places = [("pools", name, "of", i) for i in range(len(of))]
        source.refuse_twins(zip(places, of, strict=True))
        labels: list[str] = []
        for place, part in zip(places, of, strict=True):
            found = [part] if part in schemes else [n for n, plugin in schemes.items() if part in (plugin, EVERY)]
            if not found and part not in members:
                hint = suggest(part, {*schemes, *pools} - {name})
                raise source.error(place, f"no scheme or pool is called {show(part)}{hint}")
            labels += found or members[part]
        members[name] = tuple(dict.fromkeys(labels))
    return members


def across(source: Source, name: str, key: str, given: Sequence[str] | None, known: Sequence[Ref]) -> tuple[Ref, ...]:
    """The backbones or data sets, by `key`, that a pool is fused across or holds out; none for no such pool.

    Raises:
        SuiteError: about unknown names, repetitions, and pools across a single one.
    """
    one = "backbone" if key == "backbones" else "data set"
    found = named(source, ("pools", name, key), given or (), known, one)
    if len(found) == 1 and key != "held_out":
        raise source.error(("pools", name, key), f"names {found[0]} alone; a pool across {one}s needs two")
    return found


def named(source: Source, path: KeyPath, given: Sequence[str], known: Sequence[Ref], one: str) -> tuple[Ref, ...]:
    """The backbones or data sets of a suite that a list names, by label or plugin, in its order.

    Raises:
        SuiteError: about unknown names and repetitions; `one` is what each is.
    """
    places, found = [(*path, i) for i in range(len(given))], list[Ref]()
    source.refuse_twins(zip(places, given, strict=True))
    for place, part in zip(places, given, strict=True):
        fitting = [ref for ref in known if part in (str(ref), ref.name, EVERY)]
        if not fitting:
            raise source.error(place, f"no {one} of this suite is called {show(part)}{suggest(part, map(str, known))}")
        found += fitting
    return tuple(dict.fromkeys(found))


def _inner_first(source: Source, pools: Mapping[str, PoolShape]) -> list[str]:
    order = list(pools)
    inner = {name: [part for part in pool.of or () if part in pools] for name, pool in pools.items()}
    try:
        return list(TopologicalSorter(inner).static_order())
    except CycleError as error:
        circle = error.args[1][:0:-1]
        start = min(range(len(circle)), key=lambda i: order.index(circle[i]))
        names = [*circle[start:], *circle[: start + 1]]
        raise source.error(("pools", names[0]), f"contains itself: {' -> '.join(names)}") from None
