"""A kind of task that is defined in one file of plugins goes all the way, and no line of core or zoo knows it."""

import finefuse
from finefuse import testing
from finefuse_zoo.fusions.mean import Mean
from finefuse_zoo.fusions.soup import Soup
from finefuse_zoo.schemes.full import Full
from helpers.plugging import PLUGINS

COUNTS = str(PLUGINS / "counts.py")


def test_it_goes_all_the_way(tmp_path):
    suite = {"name": "visits", "datasets": ["visits"], "backbones": ["mlp-table"], "fusions": ["mean", "soup"]}
    suite |= {"schemes": ["full", "linear-probe"], "pools": {"two": {"of": ["full"], "copies": 2}}, "latency": []}
    skipped = {job.skip for job in finefuse.plan(suite, plugins=COUNTS).jobs}
    assert skipped == {"", "linear-probe is for classification and regression, and visits is counts"}
    runs = []
    for n, epochs in enumerate((1, 20, 20)):
        where = {"out": tmp_path / f"{n}", "store": tmp_path / f"store{n}", "workers": 0, "quiet": True}
        runs.append(finefuse.run(suite | {"budget": {"epochs": epochs}}, plugins=COUNTS, **where))
    told = " ".join(f"{row['label']}: {row['status']}" for row in runs[1].rows if row["kind"] in ("tune", "fuse"))
    assert told == "full: ok full: ok linear-probe: skipped mean: ok soup: ok"
    assert "deviance" in runs[1].board.to_markdown()
    assert finefuse.compare(runs[0].folder, runs[1].folder).counts == {"improved": 3, "skipped": 1}
    assert finefuse.compare(runs[1].folder, runs[2].folder).counts == {"skipped": 1, "unchanged": 3}


def test_the_kit_tries_strategies_on_it(fixture_module):
    task = fixture_module("plugins/counts").Visits.task
    testing.check_scheme(Full, tasks=[task], expected={"every-parameter-counts": "its network has no BatchNorm"})
    testing.check_fusion(Mean, tasks=[task])
    testing.check_fusion(Soup, tasks=[task], expected={"every-parameter-counts": "its network has no BatchNorm"})


def test_its_file_is_short():
    assert len((PLUGINS / "counts.py").read_text().splitlines()) <= 60
