"""Regression in the zoo: diabetes and its source, mlp-s, the metrics, and the suite that puts them together."""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import nn

import finefuse
from finefuse import Classification, FinefuseError, NotApplicable, Ref, Regression, Task
from finefuse.discovery.registry import Registry
from finefuse.engine.train.trainer import SuiteTrainer
from finefuse.errors import ParameterError
from finefuse.nets import norm_layers
from finefuse.types import Tuning
from finefuse_zoo.backbones.mlp import MlpS
from finefuse_zoo.datasets.diabetes import CENTRE, SPREAD, Diabetes, DiabetesSource
from finefuse_zoo.metrics.mae import Mae
from finefuse_zoo.metrics.r2 import R2
from finefuse_zoo.metrics.rmse import Rmse

SUITE = Path(__file__).parents[2] / "suites" / "regression.toml"
BOTH = [Diabetes(), DiabetesSource()]
METRICS = [(Rmse(), root_mean_squared_error), (Mae(), mean_absolute_error), (R2(), r2_score)]


def parts(splits):
    return [splits.train, splits.val, splits.test]


def rows(splits) -> set[tuple[float, ...]]:
    """Every example of all splits, by inputs and target."""
    return {(*x, *y) for part in parts(splits) for x, y in zip(part.x.tolist(), part.y.tolist(), strict=True)}


# ------------------------------------------------------------------------------------------------------------ diabetes


@pytest.mark.parametrize(
    ("dataset", "sizes"),
    [(Diabetes(), [40, 40, 127]), (Diabetes(train=10, val=50), [10, 50, 147]), (DiabetesSource(), [165, 35, 35])],
    ids=str,
)
def test_splits_have_the_declared_sizes_shapes_and_kinds(dataset, sizes):
    splits = dataset.splits(0)
    assert splits.task == dataset.task == Regression(1, "tabular", (10,))
    assert [len(part) for part in parts(splits)] == sizes
    for part in parts(splits):
        assert part.x.shape == (len(part), 10)
        assert part.y.shape == (len(part), 1)
        assert part.x.dtype == part.y.dtype == torch.float32


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_source_and_target_are_all_patients_once(seed):
    source, target = rows(DiabetesSource().splits(3)), rows(Diabetes().splits(seed))
    assert not source & target
    assert len(source) + len(target) == 442
    patients = load_diabetes(scaled=False)
    sexes = {part: {round(row[1], 3) for row in found} for part, found in (("source", source), ("target", target))}
    assert all(len(found) == 1 for found in sexes.values())
    assert len(target) == int((patients.data[:, 1] == 2).sum())


def test_values_are_standardised_over_all_patients_by_constants():
    patients = load_diabetes(scaled=False)
    measured = (patients.data - patients.data.mean(0)) / patients.data.std(0)
    expected = np.c_[measured, (patients.target - 152) / 77]
    found = np.array(sorted(rows(Diabetes().splits(1)) | rows(DiabetesSource().splits(0))))
    assert np.allclose(np.sort(found, 0), np.sort(expected, 0), atol=1e-4)
    assert abs(patients.target.mean() - CENTRE) < 1
    assert abs(patients.target.std() - SPREAD) < 1


@pytest.mark.parametrize("dataset", BOTH, ids=str)
def test_splits_depend_on_the_seed_alone(dataset):
    first, again, other = (dataset.splits(seed) for seed in (4, 4, 5))
    assert all(torch.equal(p.x, q.x) and torch.equal(p.y, q.y) for p, q in zip(parts(first), parts(again), strict=True))
    assert not torch.equal(first.train.x, other.train.x)
    assert rows(first) == rows(other)


def test_more_patients_are_fewer_plus_more_and_val_stays():
    few, many = Diabetes(train=10).splits(2), Diabetes(train=60).splits(2)
    assert torch.equal(few.val.x, many.val.x)
    assert torch.equal(few.train.x, many.train.x[:10])


def test_fingerprints_follow_the_parameters_and_the_files(monkeypatch, tmp_path):
    sets = [Diabetes(), Diabetes(train=20), Diabetes(val=20), DiabetesSource()]
    before = [one.fingerprint() for one in sets]
    assert len(set(before)) == len(sets)
    folder = tmp_path / "datasets" / "data"
    folder.mkdir(parents=True)
    (folder / "diabetes_data_raw.csv.gz").write_bytes(b"other patients")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: importlib.util.spec_from_file_location(name, tmp_path / "__init__.py")
    )
    with pytest.raises(FinefuseError, match=r"'diabetes' needs scikit-learn.*diabetes_target\.csv\.gz does not exist"):
        Diabetes().fingerprint()
    (folder / "diabetes_target.csv.gz").write_bytes(b"other progress")
    assert not {one.fingerprint() for one in sets} & set(before)


@pytest.mark.parametrize(("key", "value"), [("train", 1), ("train", 101), ("val", 1), ("val", 51)])
def test_sizes_out_of_bounds_are_refused(key, value):
    with pytest.raises(ParameterError) as caught:
        Registry(["finefuse_zoo.hooks"], entry_points=False).build("dataset", Ref.of("diabetes", **{key: value}))
    assert caught.value.key == key


# --------------------------------------------------------------------------------------------------------------- mlp-s


def build(task: Task = Diabetes.task, seed: int = 0, **sizes: int):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MlpS(**sizes).build(task)


def test_mlp_has_three_stages_with_layer_norm_that_hold_every_parameter():
    net = build(width=7)
    assert [[type(layer) for layer in stage] for stage in net.stages] == [[nn.Linear, nn.LayerNorm, nn.ReLU]] * 3
    assert len([*net.stages.parameters(), *net.head.parameters()]) == len(list(net.parameters())) == 14
    assert net.features(torch.zeros(5, 10)).shape == (5, 7)
    assert net(torch.zeros(5, 10)).shape == (5, 1)
    assert list(norm_layers(net)) == []


def test_mlp_takes_one_row_and_any_table_and_either_kind_of_task():
    net = build(Classification(4, "tabular", (3,))).train()
    assert net(torch.zeros(1, 3)).shape == (1, 4)


@pytest.mark.parametrize("shape", [(1, 8, 8), ()])
def test_mlp_refuses_what_is_no_row_of_a_table(shape):
    with pytest.raises(NotApplicable, match=r"mlp-s takes rows of a table \(columns,\), not inputs of shape"):
        build(Classification(2, "image", shape))


def test_mlp_weights_follow_torchs_global_seed():
    one, same, other = build(), build(), build(seed=1)
    assert torch.equal(one.stages[0][0].weight, same.stages[0][0].weight)
    assert not torch.equal(one.stages[0][0].weight, other.stages[0][0].weight)


def test_what_the_source_teaches_helps_with_the_target(lab):
    """A head on pretrained features against one on random features, and against answering with the mean."""
    source, target = DiabetesSource().splits(0), Diabetes().splits(0)
    net, fresh = build(), build()
    trainer = SuiteTrainer(source.task, source.train, MlpS().budget(), seed=0)
    MlpS().tune(Tuning(**{**vars(lab.tuning(lab.LINE)), "model": net, "trainer": trainer}))
    assert trainer.spent == trainer.budget
    assert R2().score(trainer.outputs(net, source.test.x), source.test.y) > 0.2

    def probed(model) -> float:
        head = SuiteTrainer(target.task, target.train, MlpS().budget(), seed=0)
        head.fit(model, [{"params": model.head.parameters(), "lr": 0.01}])
        return target.task.quality(head.outputs(model, target.test.x), target.test)

    assert probed(net) > probed(fresh)
    assert R2().score(trainer.outputs(net, target.test.x), target.test.y) > 0.2


def test_what_the_plan_asks_for():
    assert MlpS().source == Ref("diabetes-source")
    assert MlpS().fingerprint() == ""
    assert hash(MlpS()) == hash(MlpS(width=64))


def test_reading_and_planning_regression_imports_neither_torch_nor_sklearn():
    code = (
        "import sys; from finefuse.declare.plan import make_plan; from finefuse.declare.suite import load_suite; "
        "from finefuse.discovery.registry import Registry; "
        "registry = Registry(['finefuse_zoo.hooks'], entry_points=False); "
        f"make_plan(load_suite({str(SUITE)!r}, registry), registry); "
        "print([m for m in ('torch', 'sklearn', 'torchmetrics') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize(("metric", "reference"), METRICS, ids=["rmse", "mae", "r2"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_metrics_are_scikit_learns(metric, reference, outputs):
    rng = torch.Generator().manual_seed(outputs)
    y = torch.randn(50, outputs, generator=rng) * 3 + 100
    z = y + torch.randn(50, outputs, generator=rng)
    expected = reference(y.double().flatten(), z.double().flatten())
    if metric == R2():
        expected = reference(y.double(), z.double())  # the mean over the outputs
    assert metric.score(z, y) == pytest.approx(expected, rel=1e-9)
    assert type(metric.score(z, y)) is float


def test_metrics_of_known_errors():
    y, z = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [-1.0]])
    assert Rmse().score(z, y) == pytest.approx(math.sqrt(5))
    assert Mae().score(z, y) == 2.0
    assert R2().score(z, y) == -4.0
    assert R2().score(torch.ones(2, 1), y) == 0.0


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_scores_scale_with_the_units_and_r2_has_none(scale, offset):
    y = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64) + offset
    z = y.flip(0)
    assert R2().score(z * scale, y * scale) == pytest.approx(-3)
    assert Rmse().score(z * scale, y * scale) == pytest.approx(math.sqrt(8 / 3) * scale, rel=1e-9)
    assert Mae().score(z * scale, y * scale) == pytest.approx(4 / 3 * scale, rel=1e-9)


def test_r2_of_targets_that_are_all_one_number_is_scikit_learns():
    y = torch.full((5, 1), 0.1)
    both = torch.cat([y, torch.arange(5.0)[:, None]], 1)
    assert R2().score(y, y) == 1.0
    assert R2().score(y + 0.1, y) == 0.0
    assert R2().score(both.flip(0), both) == pytest.approx(r2_score(both, both.flip(0)))
    with pytest.raises(ValueError, match="two examples or more, not 1"):
        R2().score(y[:1], y[:1])


@pytest.mark.parametrize(("metric", "best"), [(Rmse(), 0.0), (Mae(), 0.0), (R2(), 1.0)], ids=["rmse", "mae", "r2"])
def test_perfect_outputs_score_best(metric, best):
    y = torch.linspace(-1, 1, 9)[:, None]
    assert metric.score(y, y) == best
    assert (metric.score(y + 0.1, y) < best) is metric.higher_is_better


def test_metrics_are_for_regression():
    assert {metric.kinds for metric, _ in METRICS} == {("regression",)}
    assert [metric.higher_is_better for metric, _ in METRICS] == [False, False, True]


# ----------------------------------------------------------------------------------------------------------- the suite


def test_the_suite_runs_and_every_cell_has_every_score(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    suite = tomllib.loads(SUITE.read_text(encoding="utf-8"))
    suite |= {"seeds": [0], "budget": {"epochs": 2}, "latency": []}
    done = finefuse.run(suite, device="cpu", workers=0, quiet=True, store=tmp_path / "store")
    assert done.ok
    rows = done.records[done.records.kind.isin(["tune", "fuse"])]
    assert set(rows.status) == {"ok"}
    assert len(rows) == 7 + 2 + 2 * 4
    scores = rows[["test.rmse", "test.mae", "test.r2", "val.rmse"]]
    assert np.isfinite(scores.to_numpy(dtype=float)).all()
    assert (rows["test.mae"] <= rows["test.rmse"]).all()
    assert set(rows["better.rmse"]) == {"lower"}
    assert set(rows["better.r2"]) == {"higher"}
    assert "rmse ↓" in done.board.to_markdown()
