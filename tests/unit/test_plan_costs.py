"""What a plan says that its jobs may cost, from rows of others like them."""

from __future__ import annotations

from typing import Any

import pytest

from finefuse.cli.plan import estimate, job_table, totals
from finefuse.engine.drive.outlook import Standing
from finefuse.types import Job, JobKind, Ref
from helpers.planning import ran


def job(label: str = "plain", seed: int = 0, key: str = "k") -> Job:
    return Job("tune", Ref("mlp"), Ref("blobs"), Ref(label), label, seed=seed, key=key)


def test_a_cost_is_the_mean_of_the_rows_most_alike() -> None:
    records = [ran(job(seed=0), 1.0), ran(job(seed=1), 3.0), ran(job("slow"), 100.0), ran(job(), 50.0, "failed")]
    new = [job(seed=7), job("other", seed=8)]
    costs = estimate(new, records)
    assert costs == {new[0].place: pytest.approx(2.0)}  # another method's seconds say nothing of this one's
    renamed = Job("tune", Ref("mlp"), Ref("moons"), Ref("plain"), "gently")
    assert estimate([renamed], records) == {renamed.place: pytest.approx(2.0)}
    elsewhere = Job("tune", Ref("vit"), Ref("blobs"), Ref("plain"), "plain")
    assert estimate([elsewhere], records) == {}


def test_a_fusion_costs_what_it_cost_and_not_what_another_did() -> None:
    def fused(use: str, backbone: str = "mlp", pool: str = "p") -> Job:
        return Job("fuse", Ref(backbone), Ref("blobs"), Ref(use), use, pool=pool)

    records = [ran(fused("mean"), 1e-4), ran(fused("slow"), 200.0)]
    jobs = [fused("mean", pool="q"), fused("slow", pool="q"), fused("new"), fused("slow", "vit")]
    costs = estimate(jobs, records)
    assert costs == {jobs[0].place: pytest.approx(1e-4), jobs[1].place: pytest.approx(200)}
    text = job_table([Standing(one, "to run") for one in jobs], costs, why=False)
    assert [" ".join(line.split()[2:-1]) for line in text.splitlines()[1:]] == ["< 1 ms", "3 min 20 s", "?", "?"]


def test_a_search_costs_what_its_trials_do() -> None:
    def search(kind: JobKind, label: str, **more: Any) -> Job:
        return Job(kind, Ref("mlp"), Ref("blobs"), Ref("search"), label, **more)

    records = [
        ran(search("trial", "a", trial=0), 3.0),
        ran(search("trial", "b", trial=0), 50.0),
        {**ran(search("tune", "a", trials=("x",)), 24.0), "trials": 8},
    ]
    trials, tune = [search("trial", "a", trial=i, seed=1) for i in range(2)], search("tune", "a", seed=1, trials=("x",))
    costs = estimate([*trials, tune, search("trial", "c"), search("tune", "a")], records)
    assert costs == {trials[0].place: 3.0, trials[1].place: 3.0, tune.place: 0.0}
    told = totals([Standing(one, "to run") for one in (*trials, tune)], costs)
    assert told.startswith("3 jobs, 3 to run; about 6.0 s of training and fusing")


def test_to_pick_a_fusion_s_coefficient_costs_nothing() -> None:
    pick = Job("fuse", Ref("mlp"), Ref("blobs"), Ref("ties"), "ties", pool="p", trials=("x", "y"))
    assert estimate([pick], []) == {pick.place: 0.0}


def test_totals_say_how_much_is_unknown() -> None:
    standings = [Standing(job(seed=seed), "to run") for seed in range(3)]
    assert totals(standings, {}) == "3 jobs, 3 to run; the cost is unknown until some have run"
    costs = {standings[0].job.place: 61.0, standings[1].job.place: 2.0}
    about = "3 jobs, 3 to run; about 1 min 3 s of training and fusing, without loading, scoring"
    assert totals(standings, costs) == f"{about}, timing or jobs of unknown cost (1 tune)"
    assert totals(standings[:2], costs) == f"{about} or timing".replace("3 jobs, 3", "2 jobs, 2")
    bounds = [Standing(Job("pool", Ref("mlp"), Ref("blobs"), pool="p"), "to run")]
    assert totals(bounds, {}) == "1 job, 1 to run; nothing to train or fuse"
    assert totals([Standing(job(), "cached")], {}) == "1 job, 1 cached; nothing to compute"


def test_whole_jobs_are_what_they_took_with_all_around_them() -> None:
    """Seconds of strategies alone say nothing of a fusion that is scored for a minute, and none of latency."""
    fused = Job("fuse", Ref("mlp"), Ref("blobs"), Ref("mean"), "mean", pool="p")
    timed = Job("time", Ref("mlp"), Ref("blobs"), Ref("plain"), "plain")
    pick = Job("tune", Ref("mlp"), Ref("blobs"), Ref("search"), "search", trials=("x",))
    took = {fused: 60.0, timed: 5.0, pick: 0.5}
    records = [{**ran(one, 1e-4), "job_seconds": seconds} for one, seconds in took.items()]
    records[2]["trials"] = 8
    jobs = [*took, job()]
    costs = estimate(jobs, records)
    assert costs == {one.place: seconds for one, seconds in took.items()}
    standings = [Standing(one, "to run") for one in jobs]
    assert totals(standings, costs, whole=True) == (
        "4 jobs, 4 to run; about 1 min 6 s for one job after the other, without jobs of unknown cost (1 tune)"
    )
    text = job_table(standings, costs, why=False, whole=True)
    told = [line.split("to run")[1].rsplit(maxsplit=1)[0].strip() for line in text.splitlines()[1:]]
    assert told == ["1 min 0 s", "5.0 s", "500 ms", "?"]
