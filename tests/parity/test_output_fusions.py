"""Output-level fusions against scikit-learn's ensembles of prefitted members, and DESlib's and AutoGluon's results.

Those two don't install beside the rest; oracles/make_*.py wrote what they gave.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV

from finefuse import Classification, Regression
from finefuse.types import Data, Fusing, Member
from finefuse_zoo.fusions.greedy_ensemble import GreedyEnsemble
from finefuse_zoo.fusions.knora import Knora
from finefuse_zoo.fusions.mean import Mean
from finefuse_zoo.fusions.mean_probs import MeanProbs
from finefuse_zoo.fusions.rules import Max, Median, Min, Product
from finefuse_zoo.fusions.stacking import Stacking
from finefuse_zoo.fusions.vote import Vote
from finefuse_zoo.fusions.weighted import Weighted

TASK = Classification(4, "tabular", (1,))
ORACLES = Path(__file__).parent / "oracles"


class Canned(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose probabilities are looked up by row number."""

    def __init__(self, table=None):
        self.table = table

    def fit(self, x, y):
        self.classes_ = np.arange(self.table.shape[1])
        return self

    def predict_proba(self, x):
        return self.table[x[:, 0].astype(int)]

    def predict(self, x):
        return self.predict_proba(x).argmax(1)


class CannedValues(RegressorMixin, BaseEstimator):
    """A fitted regressor whose values are looked up by row number."""

    def __init__(self, table=None):
        self.table = table

    def fit(self, x, y):
        self.n_features_in_ = 1
        return self

    def predict(self, x):
        return self.table[x[:, 0].astype(int)]


def pool(z, y):
    """A fusing of members of which only the outputs z (members, N, outputs) exist."""
    classes = not y.is_floating_point()
    task = (Classification if classes else Regression)(z.shape[-1], "tabular", (1,))
    scores = (z.argmax(-1) == y).double().mean(-1) if classes else -(z - y).square().mean((1, 2))
    members = [Member(f"m{i}", float(s), o, lambda: None) for i, (s, o) in enumerate(zip(scores, z, strict=True))]
    return Fusing(task, members, torch.Generator(), val=Data(torch.arange(float(len(y)))[:, None], y))


def problem(seed, classes=4):
    rng = np.random.default_rng(seed)
    logits, y = rng.normal(size=(3, 200, classes)), rng.integers(0, classes, 200)
    logits[:, np.arange(200), y] += 1
    z = torch.from_numpy(logits)
    of = pool(z, torch.from_numpy(y))
    canned = [(f"m{i}", Canned(o.softmax(-1).numpy()).fit(None, None)) for i, o in enumerate(z)]
    return z, of, canned, of.val.x.numpy(), y


def values(seed, outputs=1):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(80, outputs))
    z = torch.from_numpy(y + rng.normal(size=(6, 80, outputs)) * (1 + seed))
    of = pool(z, torch.from_numpy(y))
    return z, of, [(f"m{i}", CannedValues(o[:, 0].numpy()).fit(None, None)) for i, o in enumerate(z)], of.val.x.numpy()


def weights_by_name(fused, of):
    """The weights that an ensemble gives to each of the pool's members, 0 to those it leaves out."""
    kept = [member.name for member in fused.members]
    one_hot = torch.eye(len(kept), dtype=torch.float64)[:, :, None]  # regressed values 1 and 0 give the weights back
    found = dict(zip(kept, fused.combine(one_hot)[:, 0].tolist(), strict=True))
    return np.array([found.get(member.name, 0.0) for member in of.members])


def voting(canned, kind, weights=None):
    ensemble = VotingClassifier(canned, voting=kind, weights=weights)
    ensemble.estimators_ = [c for _, c in canned]
    ensemble.le_ = type("Identity", (), {"inverse_transform": staticmethod(lambda v: v)})()
    ensemble.classes_ = np.arange(4)
    return ensemble


@pytest.mark.parametrize("seed", range(3))
def test_vote_is_hard_voting(seed):
    z, of, canned, x, _ = problem(seed)
    ours = Vote().fuse(of).combine(z).argmax(-1).numpy()
    assert (ours == voting(canned, "hard").predict(x)).all()
    three_way_ties = sum(len(set(column)) == 3 for column in z.argmax(-1).T.tolist())
    assert three_way_ties > 0


@pytest.mark.parametrize("seed", range(3))
def test_mean_probs_is_soft_voting(seed):
    z, of, canned, x, _ = problem(seed)
    ours = MeanProbs().fuse(of).combine(z).softmax(-1).numpy()
    assert np.abs(ours - voting(canned, "soft").predict_proba(x)).max() < 1e-6


@pytest.mark.parametrize("weights", [None, (0.3, 0.3, 0.4)], ids=["accuracy", "given"])
@pytest.mark.parametrize("seed", range(3))
def test_weighted_is_soft_voting_with_weights(seed, weights):
    z, of, canned, x, _ = problem(seed)
    ours = Weighted(weights=weights).fuse(of).combine(z).softmax(-1).numpy()
    weights = weights or [m.score for m in of.members]
    assert np.abs(ours - voting(canned, "soft", weights).predict_proba(x)).max() < 1e-6


@pytest.mark.parametrize("C", [0.1, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_stacking_is_a_prefit_stacking_classifier(seed, C):
    z, of, canned, x, y = problem(seed)
    final = LogisticRegression(C=C, tol=1e-10, max_iter=10_000)
    reference = StackingClassifier(canned, final, cv="prefit", stack_method="predict_proba").fit(x, y)
    ours = Stacking(C=C).fuse(of).combine(z).softmax(-1).numpy()
    assert np.abs(ours - reference.predict_proba(x)).max() < 1e-5


def test_of_two_classes_stacking_has_a_fourth_of_scikit_learns_penalty():
    """It drops the first of two probabilities and the first of two rows of weights; here weights are shared by both."""
    z, of, canned, x, y = problem(0, classes=2)
    final = LogisticRegression(C=4.0, tol=1e-10, max_iter=10_000)
    reference = StackingClassifier(canned, final, cv="prefit", stack_method="predict_proba").fit(x, y)
    ours = Stacking(C=1.0).fuse(of).combine(z).softmax(-1).numpy()
    assert np.abs(ours - reference.predict_proba(x)).max() < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_stacking_of_values_is_a_prefit_stacking_regressor(seed):
    z, of, canned, x = values(seed)
    reference = StackingRegressor(canned, RidgeCV(), cv="prefit").fit(x, of.val.y[:, 0].numpy())
    ours = Stacking().fuse(of).combine(z)[:, 0].numpy()
    assert np.abs(ours - reference.predict(x)).max() < 1e-8


def test_stacking_of_several_values_chooses_the_penalty_as_ridge_cv():
    chosen = set()
    for seed in range(4):
        z, of, _, _ = values(seed, outputs=2)
        x, y, alphas = np.hstack(z.numpy()), of.val.y.numpy(), (0.01, 1.0, 30.0, 1000.0)
        reference = RidgeCV(alphas).fit(x, y)
        chosen.add(reference.alpha_)
        assert np.abs(Stacking(alphas=alphas).fuse(of).combine(z).numpy() - reference.predict(x)).max() < 1e-8
    assert len(chosen) > 1


def test_mean_and_weighted_values_are_a_voting_regressor():
    z, of, canned, x = values(0)
    for fusion, weights in ((Mean(), None), (Weighted(weights=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)), [1, 2, 3, 4, 5, 6])):
        reference = VotingRegressor(canned, weights=weights)
        reference.estimators_ = [c for _, c in canned]
        assert np.abs(fusion.fuse(of).combine(z)[:, 0].numpy() - reference.predict(x)).max() < 1e-12


@pytest.mark.parametrize("members", [5, 4])
@pytest.mark.parametrize(
    ("rule", "name"), [(Product(), "product"), (Max(), "maximum"), (Min(), "minimum"), (Median(), "median")], ids=str
)
def test_rules_are_those_of_deslib(rule, name, members):
    given = np.load(ORACLES / "deslib.npz")
    test = torch.from_numpy(given["test"])[:members]
    ours = rule.fuse(pool(test, torch.zeros(test.shape[1], dtype=torch.int64))).combine(test).argmax(-1).numpy()
    assert (ours == given[name if members == 5 else f"{name}_even"]).all()
    assert (ours != test.softmax(-1).mean(0).argmax(-1).numpy()).any()


@pytest.mark.parametrize("rule", ["eliminate", "union"])
def test_knora_is_that_of_deslib(rule):
    given = np.load(ORACLES / "deslib.npz")
    val, y, test = (torch.from_numpy(given[name]) for name in ("val", "y", "test"))
    ours = Knora(rule=rule).fuse(pool(val, y)).combine(test).softmax(-1).numpy()
    assert np.abs(ours - given[rule]).max() < 1e-5
    assert (given[rule].argmax(-1) != test.argmax(-1).mode(0).values.numpy()).any()


@pytest.mark.parametrize("seed", range(4))
def test_greedy_selection_gives_autogluons_weights(seed):
    given = np.load(ORACLES / "autogluon.npz")
    of = pool(torch.from_numpy(given[f"z{seed}"]), torch.from_numpy(given[f"y{seed}"]))
    fused = GreedyEnsemble().fuse(of)
    expected = given[f"classes{seed}"]
    z = torch.stack([member.val_outputs for member in fused.members])
    mixed = np.einsum("m,mnc->nc", expected, torch.stack([m.val_outputs for m in of.members]).softmax(-1).numpy())
    assert {member.name for member in fused.members} == {f"m{i}" for i in np.flatnonzero(expected)}
    assert np.abs(fused.combine(z).softmax(-1).numpy() - mixed).max() < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_greedy_selection_of_values_gives_autogluons_weights(seed):
    given = np.load(ORACLES / "autogluon.npz")
    z, y = (torch.from_numpy(given[f"{name}{seed}"])[..., None] for name in ("values", "target"))
    of = pool(z, y)
    assert np.abs(weights_by_name(GreedyEnsemble().fuse(of), of) - given[f"regression{seed}"]).max() < 1e-12
