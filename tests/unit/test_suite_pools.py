"""Names of one's own, pools of everything, pools across backbones, and fusions that go in rounds."""

from __future__ import annotations

from typing import Any

import pytest

from finefuse.declare.suite import Pool, load_suite
from finefuse.discovery.registry import Registry
from finefuse.errors import SuiteError
from finefuse.types import Ref

LEAST: dict[str, Any] = {"name": "x", "datasets": ["shapes"], "backbones": ["small"], "schemes": ["full", "probe"]}


def test_rounds_are_for_one_network(registry: Registry) -> None:
    suite = load_suite({**LEAST, "fusions": [{"use": "soup", "rounds": 3}, {"use": "vote", "rounds": 1}]}, registry)
    assert [fusion.rounds for fusion in suite.fusions] == [3, 1]
    with pytest.raises(SuiteError) as caught:
        load_suite({**LEAST, "fusions": [{"use": "vote", "rounds": 2}]}, registry)
    assert str(caught.value) == (
        "fusions[0].rounds: vote fuses on the output level, and only one network, as methods of the weight "
        "level give it, can be fine-tuned again"
    )
    with pytest.raises(SuiteError, match=r"schemes\[0\].rounds: only fusions go in rounds"):
        load_suite({**LEAST, "schemes": [{"use": "full", "rounds": 2}]}, registry)


def test_pools_of_everything_and_across_backbones(registry: Registry) -> None:
    pools = {"all": {"of": "*"}, "mix": {"of": ["full"], "backbones": ["small", "other"]}}
    suite = load_suite(
        {**LEAST, "schemes": ["full", "probe"], "backbones": ["small", "other"], "pools": pools}, registry
    )
    assert suite.pools == (Pool("all", ("full", "probe"), 1), Pool("mix", ("full",), 1, (Ref("small"), Ref("other"))))


@pytest.mark.parametrize(
    ("backbones", "where", "sentence"),
    [
        (["smal"], "pools.mix.backbones[0]", "no backbone of this suite is called \"smal\"; did you mean 'small'?"),
        (["small"], "pools.mix.backbones", "names small alone; a pool across backbones needs two"),
        ([], "pools.mix.backbones", "must not be empty"),
        (["small", "small"], "pools.mix.backbones[1]", "small is given twice, first as pools.mix.backbones[0]"),
    ],
)
def test_backbones_of_a_pool(registry: Registry, backbones: list[str], where: str, sentence: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load_suite({**LEAST, "pools": {"mix": {"of": ["full"], "backbones": backbones}}}, registry)
    assert str(caught.value).startswith(f"{where}: {sentence}")


def test_data_sets_and_backbones_by_other_names(registry: Registry) -> None:
    datasets = [{"use": "shapes", "as": "tiny shapes", "grid": {"shots": [3]}}]
    backbones = [{"use": "small", "width": 17, "as": "narrow"}]
    suite = load_suite({**LEAST, "datasets": datasets, "backbones": backbones}, registry)
    assert (str(suite.datasets[0]), str(suite.backbones[0])) == ("tiny shapes(shots=3)", "narrow")
    assert suite.datasets[0] == Ref.of("shapes", shots=3)


def test_a_parameter_that_no_suite_could_give(registry: Registry) -> None:
    with pytest.raises(SuiteError) as caught:
        load_suite({**LEAST, "fusions": ["rounder"]}, registry)
    assert str(caught.value) == ("fusions[0]: the fusion 'rounder' has a parameter 'rounds', which suites need")
