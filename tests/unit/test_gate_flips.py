"""The joint test of changes by example: exact where it can be, with the error rates and power of docs/ci.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from finefuse.judge.gate.error_rate import SHARES, adjusted, countable
from finefuse.judge.gate.examples import LEAD
from finefuse.judge.gate.flips import Change, Total, joint_test, visible

ALPHA = 0.05 * SHARES["examples"]
RNG = np.random.default_rng()


@pytest.fixture(autouse=True)
def _the_same_draws_whatever_ran_before() -> None:
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def changes(net: Any) -> list[Change]:
    return [Change("data", np.asarray(values, float)) for values in net]


def caught(net: Any, seeds: int) -> tuple[bool, bool, bool]:
    """Whether a loss is found in all cells together, in any line, in any cell; lines have that many cells each."""
    cells = len(net)
    lines = [tuple(range(i, i + seeds)) for i in range(0, cells, seeds)] if seeds > 1 else []
    totals = [Total(tuple(range(cells)), lead=LEAD["comparison"]), *(Total(line, lead=LEAD["line"]) for line in lines)]
    worse = joint_test(changes(net), [*totals, *(Total((i,)) for i in range(cells))], ALPHA).worse <= ALPHA
    return bool(worse[0]), bool(worse[1 : len(totals)].any()), bool(worse[len(totals) :].any())


def rate(make: Callable[[], Any], seeds: int, times: int) -> float:
    """In which share of simulated comparisons anything is called worse."""
    return float(np.mean([any(caught(make(), seeds)) for _ in range(times)]))


def flips(cells: int, each_way: float, loss: float = 0.0, only: Sequence[int] | None = None, n: int = 360) -> Any:
    """Independent flips, `each_way` lost and won, and a loss on top in some cells or all."""
    net = (RNG.random((cells, n)) < each_way).astype(int) - (RNG.random((cells, n)) < each_way)
    at = list(range(cells) if only is None else only)
    net[at] -= RNG.random((len(at), n)) < loss
    return net.clip(-1, 1)


def fragile(cells: int, share: float = 0.1, n: int = 360, *, alike: bool) -> Any:
    """The same few examples flip everywhere, each in one direction in all cells (`alike`), or in any."""
    directions = RNG.choice([-1, 1], n if alike else (cells, n))
    return (RNG.random((cells, n)) < 0.02 / share) * (RNG.random(n) < share) * directions


# ----------------------------------------------------------------------------------------- the figures of the issue


@pytest.mark.parametrize(
    "make",
    [
        lambda: flips(42, 0.01),
        lambda: fragile(42, alike=True),
        lambda: fragile(42, alike=False),
        lambda: fragile(42, share=0.03, alike=True),
    ],
)
def test_where_nothing_changed_at_most_one_in_twenty_fails(make: Callable[[], Any]) -> None:
    assert rate(make, 3, 80) <= 0.0625  # the level is 4 %; studies/gate has more tables of each


def test_one_point_in_every_cell_is_caught() -> None:
    assert rate(lambda: flips(40, 0.01, loss=0.01), 1, 60) >= 0.95


def test_two_points_in_one_line_of_fourteen_are_caught() -> None:
    assert rate(lambda: flips(42, 0.01, loss=0.02, only=range(3)), 3, 100) >= 0.6


def test_two_points_in_one_cell_are_caught_where_few_examples_flip() -> None:
    """Tarone's exclusion: cells that can't be significant cost nothing."""
    assert rate(lambda: flips(40, 0.0025, loss=0.02, only=[0]), 1, 100) >= 0.5


def test_adding_up_counts_as_if_cells_were_independent_would_fail() -> None:
    """What the joint test is for: of fragile examples McNemar's test of all counts raises many false alarms."""
    found = []
    for _ in range(100):
        net = fragile(42, alike=True)
        lost, won = int((net < 0).sum()), int((net > 0).sum())
        found.append(stats.binomtest(lost, lost + won, alternative="greater").pvalue <= 0.05)
    assert np.mean(found) > 0.15


# ----------------------------------------------------------------------------------------- the test itself


@pytest.mark.parametrize(("lost", "won"), [(5, 0), (0, 5), (3, 1), (8, 3), (40, 25), (6, 6)])
def test_one_cell_gets_mcnemars_exact_p_value(lost: int, won: int) -> None:
    net = [[-1] * lost + [1] * won + [0] * 100]
    found = joint_test(changes(net), [Total((0,))], 0.05)
    for p, side in ((found.worse, lost), (found.better, won)):
        exact = stats.binomtest(side, lost + won, alternative="greater").pvalue
        assert p[0] == pytest.approx(exact, abs=1e-12 if lost + won <= 11 else 0.03)


def test_an_example_that_flips_in_all_cells_is_one_observation() -> None:
    net = np.zeros((50, 100))
    net[:, :3] = -1
    totals = [Total(tuple(range(50))), *(Total((i,)) for i in range(50))]
    assert joint_test(changes(net), totals, 0.05).worse == pytest.approx(0.125)


def test_what_did_not_change_is_not_significant_and_costs_nothing() -> None:
    alone = joint_test(changes([[-1] * 6 + [0] * 94]), [Total((0,))], 0.05)
    among = joint_test(changes([[-1] * 6 + [0] * 94, *[[0] * 100] * 99]), [Total((i,)) for i in range(100)], 0.05)
    assert among.worse[0] == alone.worse[0] == 0.5**6
    assert (among.worse[1:] == 1).all()


def test_the_same_changes_give_the_same_p_values() -> None:
    net, totals = flips(6, 0.05), [Total((i,)) for i in range(6)]
    one, two = (joint_test(changes(net), totals, 0.05) for _ in range(2))
    assert (one.worse == two.worse).all()
    assert (one.better == two.better).all()


def test_samples_of_another_size_or_data_set_are_added_up_on_their_own() -> None:
    own = [Change("a", np.array([-1.0, 0, 0])), Change("b", np.array([-1.0, 0, 0])), Change("a", np.array([-1.0, 0]))]
    assert joint_test(own, [Total((0, 1, 2))], 0.05).worse[0] == 0.125
    assert joint_test([own[0], own[0]], [Total((0, 1))], 0.05).worse[0] == 0.5


def test_a_cell_that_shares_a_change_with_its_siblings_stands_out_only_if_it_is_worse_than_they_are() -> None:
    shared = np.where(np.arange(400) < 30, -1, 0)
    worse = np.where(np.arange(400) < 80, -1, 0)
    siblings = [Total((i,), tuple(j for j in range(6) if j != i)) for i in range(6)]
    assert (joint_test(changes([shared] * 6), siblings, 0.05).worse > 0.5).all()
    found = joint_test(changes([worse, *[shared] * 5]), siblings, 0.05).worse
    assert found[0] < 0.01
    assert (found[1:] > 0.5).all()


def test_what_all_inherit_from_one_ancestor_is_no_loss_of_one_of_them() -> None:
    """However large the shift: what is worse than its siblings is rare, and that alone is tested."""

    def alarm() -> bool:
        shared = np.where(RNG.random(360) < 0.05, -1, 0)
        net = (flips(12, 0.01) + shared).clip(-1, 1)
        siblings = [Total((i,), tuple(j for j in range(12) if j != i)) for i in range(12)]
        return bool((joint_test(changes(net), siblings, ALPHA).worse <= ALPHA).any())

    assert np.mean([alarm() for _ in range(60)]) <= 0.0834  # 4 % are the level


@pytest.mark.parametrize("each_way", [0.0, 0.01, 0.05])
def test_what_is_called_visible_is_caught_four_times_in_five(each_way: float) -> None:
    squares, n = 2 * each_way * 360 * 20, 360 * 20
    found = joint_test(changes(flips(20, max(each_way, 0.001))), [Total(tuple(range(20)))], ALPHA)
    loss = visible(n, squares, found.critical, answers=True)
    hits = [caught_alone(flips(20, each_way, loss=loss)) for _ in range(60)]
    assert 0.68 <= np.mean(hits) <= 0.92


def caught_alone(net: Any) -> bool:
    return bool(joint_test(changes(net), [Total(tuple(range(len(net))))], ALPHA).worse[0] <= ALPHA)


# ----------------------------------------------------------------------------------------- Holm and Tarone


def test_tarones_exclusion_leaves_what_can_be_significant() -> None:
    least = [0.5, 0.25, 0.02, 0.001, 0.0001]
    assert countable(least, 0.05) == [3, 4]  # 0.02 <= 0.05 / 2, but three could reach that
    assert countable([0.5, 0.5], 0.05) == []
    assert countable([], 0.05) == []
    assert adjusted([0.5, 0.03, 0.02, 0.001, 0.5], least, 0.05) == pytest.approx([1, 1, 1, 0.002, 0.5])


def test_holms_method_is_kept_where_everything_counts() -> None:
    assert adjusted([0.01, 0.04, 0.03, 0.005], [0.0] * 4, 0.05) == pytest.approx([0.03, 0.06, 0.06, 0.02])
