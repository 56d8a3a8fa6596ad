"""What follows a fusion: stages that change the network which was fused, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finefuse.declare.facts import Facts
from finefuse.declare.strategy import Strategy
from finefuse.declare.suite_text import Source
from finefuse.declare.toml_lines import KeyPath
from finefuse.types import Ref


def followed(
    source: Source, facts: Facts, path: KeyPath, line: Strategy, stages: Sequence[Ref], *, named: bool
) -> Strategy:
    """A line with its stages, which its label tells unless it was `named`.

    Raises:
        SuiteError: if the line gives no network, or one of them is no stage.
    """
    if (level := facts.level(line.ref)) != "weight":
        raise source.error(
            path, f"{line.ref.name} fuses on the {level} level, and there must be one network for stages to follow"
        )
    for i, stage in enumerate(stages):
        if not facts.follows(stage):
            raise source.error(
                (*path, i), f"{stage.name} is no stage: it has no `follow`, which changes a network that was fused"
            )
    label = line.label if named else " then ".join([line.label, *map(str, stages)])
    return replace(line, label=label, followed_by=tuple(stages))
