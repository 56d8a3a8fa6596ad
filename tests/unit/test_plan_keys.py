"""What moves the addresses of a plan's jobs, what does not, and how `--why` says it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finefuse import Entry, hookimpl
from finefuse.declare import facts, jobs
from finefuse.declare.keys import explain
from finefuse.discovery.registry import Registry
from finefuse.types import Job
from helpers.planning import pick, planned

FIXTURES = Path(__file__).parents[1] / "fixtures"


def addresses(registry: Registry, device: str = "cpu", **changes: Any) -> dict[str, tuple[str, str]]:
    """The artifact and key of the first of each kind of job."""
    plan = planned(registry, device, **changes)
    jobs = {job.kind: job for job in reversed(plan.jobs)}
    return {kind: (job.artifact, job.key) for kind, job in jobs.items()}


def moved(registry: Registry, device: str = "cpu", **changes: Any) -> dict[str, str]:
    """Which kinds of job get another artifact, or only another key, by some changes of the suite."""
    before, after = addresses(registry), addresses(registry, device, **changes)
    return {
        kind: "artifact" if before[kind][0] != after[kind][0] else "key"
        for kind in before
        if before[kind] != after[kind]
    }


ALL = dict.fromkeys(("pretrain", "tune", "pool", "fuse", "time"), "artifact")
TUNED = dict.fromkeys(("tune", "pool", "fuse", "time"), "artifact")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"precision": "bf16"}, ALL),
        ({"channels_last": True}, ALL),
        ({"threads": 2}, ALL),
        ({"device": "cuda:1"}, ALL),
        ({"backbones": [{"use": "small", "width": 17}]}, ALL),
        ({"budget": {"epochs": 31}}, TUNED),
        ({"budget": {"steps": 31}}, TUNED),
        ({"budget": {"batch_size": 33}}, TUNED),
        ({"budget": {"schedule": "constant"}}, TUNED),
        ({"datasets": [{"use": "shapes", "shots": 11}]}, TUNED),
        ({"seeds": [4, 1]}, TUNED),
        ({"schemes": [{"use": "full", "as": "full", "lr": 0.02}, "probe"]}, TUNED),
        ({"fusions": ["soup"]}, {"fuse": "artifact"}),
        ({"fusions": [{"use": "vote", "as": "v"}, "soup"]}, {}),
        ({"metrics": ["top-k"]}, {"tune": "key", "pool": "key", "fuse": "key"}),
        ({"metrics": ["accuracy", "top-k"]}, {"tune": "key", "pool": "key", "fuse": "key"}),
        ({"latency": [1]}, {"time": "artifact"}),
        ({"name": "y"}, {}),
        ({"seeds": [3, 1, 7]}, {}),
        ({"limits": {"seconds": 5, "memory": 1}}, {}),
        ({"schemes": ["full", "probe", "from-file"]}, {}),
        ({"pools": {"another": {"of": ["full"], "copies": 3}}}, {}),
        ({"pools": {"same": {"of": ["full"], "copies": 4}}}, {"pool": "artifact", "fuse": "artifact"}),
        ({"pools": {"both": {"of": ["probe", "full"]}}}, {"pool": "artifact", "fuse": "artifact"}),
        ({"schemes": [{"use": "full", "lr": 0.01, "as": "full"}, "probe"]}, {}),
    ],
    ids=str,
)
def test_what_moves_an_address_and_what_does_not(
    changes: dict[str, Any], expected: Mapping[str, str], registry: Registry
) -> None:
    assert moved(registry, **changes) == expected


def test_another_way_to_count_moves_rows_and_nothing_is_trained_for_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = addresses(registry)
    monkeypatch.setattr(jobs, "COUNTED", {"counting of FLOPs": "another"})
    after = addresses(registry)
    assert [after[kind][0] for kind in ALL] == [before[kind][0] for kind in ALL]
    assert {kind for kind in ALL if after[kind] != before[kind]} == set(ALL) - {"time"}


def test_the_device_s_number_moves_nothing(registry: Registry) -> None:
    assert addresses(registry, "cuda:0") == addresses(registry, "cuda:1")


def test_the_order_of_metrics_moves_keys_because_the_first_ranks(registry: Registry) -> None:
    one, two = (addresses(registry, metrics=names) for names in (["accuracy", "top-k"], ["top-k", "accuracy"]))
    assert one["tune"][0] == two["tune"][0]
    assert one["tune"][1] != two["tune"][1]


def test_a_metric_s_parameters_move_keys(registry: Registry) -> None:
    one, two = (addresses(registry, metrics=[{"use": "top-k", "k": k}]) for k in (2, 3))
    assert (one["fuse"][0], one["fuse"][1] == two["fuse"][1]) == (two["fuse"][0], False)


def test_one_metric_twice_with_other_parameters(registry: Registry) -> None:
    metrics = [{"use": "top-k", "grid": {"k": [2, 3]}}]
    parts = dict(pick(planned(registry, metrics=metrics), "tune", "full").parts)
    assert (parts["metric top-k(k=2): k"], parts["metric top-k(k=3): k"]) == ("2", "3")


def test_members_and_seeds_differ(registry: Registry) -> None:
    tuned = [job.artifact for job in planned(registry).jobs if job.kind == "tune"]
    assert len(set(tuned)) == len(tuned) == 8


def test_two_labels_for_one_thing_are_two_cells_with_one_artifact(registry: Registry) -> None:
    plan = planned(registry, schemes=["full", {"use": "full", "as": "again"}], pools={})
    one, two = pick(plan, "tune", "full"), pick(plan, "tune", "again")
    assert one.cell != two.cell
    assert (one.artifact, one.key) == (two.artifact, two.key)


def test_why_is_said_in_words(registry: Registry) -> None:
    old = pick(planned(registry), "tune", "full")
    schemes = [{"use": "full", "lr": 0.5, "as": "full"}, "probe"]
    new = pick(planned(registry, budget={"epochs": 31}, schemes=schemes), "tune", "full")
    assert explain(dict(old.parts), dict(new.parts)) == (
        "budget: epochs was 30 and is 31; scheme full: lr was 0.01 and is 0.5"
    )


def test_content_counts_and_its_place_does_not(registry: Registry, tmp_path: Path) -> None:
    def parts(place: str, content: str) -> dict[str, str]:
        file = tmp_path / place
        file.write_text(content)
        schemes = [{"use": "from-file", "weights": str(file), "as": "full"}, "probe"]
        return dict(pick(planned(registry, schemes=schemes), "tune", "full").parts)

    assert parts("a", "one") == parts("b", "one")
    assert explain(parts("a", "one"), parts("a", "two")) == "scheme from-file: weights changed"


def test_a_data_set_s_content_counts(registry: Registry, plugins: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    before = planned(registry)
    monkeypatch.setitem(plugins.CONTENT, "shapes", "shapes-2")
    after = planned(registry)
    assert pick(before, "pretrain") == pick(after, "pretrain")
    old, new = (dict(pick(plan, "tune", "full").parts) for plan in (before, after))
    assert explain(old, new) == 'dataset shapes: content was "shapes-1-10" and is "shapes-2-10"'
    monkeypatch.setitem(plugins.CONTENT, "source", "source-2")
    assert pick(before, "pretrain").artifact != pick(planned(registry), "pretrain").artifact


def test_a_change_of_a_plugin_s_source_counts(tmp_path: Path) -> None:
    def job(text: str) -> Job:
        folder = tmp_path / str(len(text))
        folder.mkdir()
        (folder / "planned.py").write_text(text)
        registry = Registry([str(folder / "planned.py")], entry_points=False)
        return pick(planned(registry), "tune", "full")

    text = (FIXTURES / "planned.py").read_text()
    old, new = job(text), job(text + "# a change\n")
    assert old.artifact != new.artifact
    assert "source planned.py changed" in explain(dict(old.parts), dict(new.parts))


def test_the_version_of_what_an_entry_requires_counts(plugins: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        @hookimpl
        def finefuse_schemes(self) -> Iterator[Entry[Any]]:
            yield Entry("picky", plugins.Full, requires=("PIL", "json"))

    def parts() -> dict[str, str]:
        registry = Registry([plugins, Plugin()], entry_points=False)
        return dict(pick(planned(registry, schemes=["full", "picky", "probe"]), "tune", "picky").parts)

    before = parts()
    assert before["version of PIL"] == metadata.version("pillow")
    assert before["version of json"] == ""
    monkeypatch.setattr(facts, "version_of", lambda module: "99")
    assert "version of PIL" in explain(before, parts())
