"""letters and digits: the same seed gives the same bits, and no example stands in two splits."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from finefuse import FinefuseError, Ref, Splits
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.datasets._drawing import draw
from finefuse_zoo.datasets._pixels import CENTRE, SPREAD, as_splits, rows_by_class
from finefuse_zoo.datasets.digits import Digits
from finefuse_zoo.datasets.letters import CHARACTERS, Letters

SMALL = Letters(per_class=20)


@pytest.fixture(scope="module")
def letters() -> Splits:
    return SMALL.splits(0)


def parts(splits: Splits) -> list:
    return [splits.train, splits.val, splits.test]


def same(a: Splits, b: Splits) -> bool:
    return all(torch.equal(p.x, q.x) and torch.equal(p.y, q.y) for p, q in zip(parts(a), parts(b), strict=True))


def counts(data) -> list[int]:
    return torch.bincount(data.y).tolist()


def all_rows(splits: Splits) -> np.ndarray:
    """Every example of all splits as one row of pixels and class, sorted."""
    rows = np.concatenate([np.c_[pixels(p), p.y.numpy()] for p in parts(splits)])
    return rows[np.lexsort(rows.T)]


def pixels(data) -> np.ndarray:
    return (data.x.double().numpy() * SPREAD + CENTRE).round(3).reshape(len(data), -1)


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ------------------------------------------------------------------------------------------------------- rows_by_class


def test_rows_are_disjoint_complete_and_counted_per_class():
    y = np.array([0, 1, 2, 2, 1, 0, 0, 1, 2, 0] * 3)
    a, b, c = rows_by_class(y, 2, 3, seed=5)
    assert sorted(np.concatenate([a, b, c])) == list(range(30))
    assert np.bincount(y[a]).tolist() == [2, 2, 2]
    assert np.bincount(y[b]).tolist() == [3, 3, 3]
    assert np.bincount(y[c]).tolist() == [7, 4, 4]


def test_rows_depend_on_the_seed_alone_even_a_large_one():
    y = np.arange(200) % 4
    first, again, other = (np.concatenate(rows_by_class(y, 3, 3, seed)) for seed in (2**62, 2**62, 2**62 + 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_stream_of_random_numbers_is_the_one_the_splits_were_made_with():
    a, b, c = rows_by_class(np.zeros(8, int), 2, 2, seed=1)
    assert [a.tolist(), b.tolist(), c.tolist()] == [[2, 4], [7, 5], [0, 6, 3, 1]]


def test_pixels_are_scaled_by_fixed_constants():
    images = np.stack([np.full((8, 8), v) for v in (0, 5, 11, 16)])
    rows = np.array([0, 1, 2, 3])
    splits = as_splits(Digits.task, images, np.arange(4), rows[:1], rows[1:2], rows[2:])
    values = [p.x.unique().tolist() for p in parts(splits)]
    assert values[0] == pytest.approx([-5 / 6])
    assert values[1] == [0.0]
    assert values[2] == pytest.approx([1.0, 11 / 6])
    assert splits.test.y.tolist() == [2, 3]


# ------------------------------------------------------------------------------------------------------------- letters


def test_letters_have_no_digits_and_nothing_that_looks_like_one():
    assert len(CHARACTERS) == len(set(CHARACTERS)) == 53
    assert not set(CHARACTERS) & set("0123456789oOlI")


def test_letters_splits_have_the_declared_shape_and_shares(letters):
    assert Letters.task.input_shape == (1, 8, 8)
    assert Letters.task.outputs == 53
    assert letters.task == Letters.task
    for part, n in zip(parts(letters), (17, 1, 2), strict=True):
        assert counts(part) == [n] * 53
        assert part.x.shape == (53 * n, 1, 8, 8)
        assert part.x.dtype == torch.float32
        assert part.y.dtype == torch.int64


def test_letters_hold_counts_from_0_to_16(letters):
    values = np.concatenate([pixels(p).ravel() for p in parts(letters)])
    assert set(np.unique(values)) == set(range(17))


def test_letters_are_about_as_bright_as_digits(letters):
    assert abs(float(letters.train.x.mean())) < 0.2
    assert float(letters.train.x.std()) == pytest.approx(1, abs=0.1)


def test_every_drawing_of_a_letter_is_another_and_leaves_ink():
    drawings = draw(CHARACTERS, 3).reshape(53, 3, 64)
    assert (drawings.sum(-1) > 16).all()
    for one, other in combinations(range(3), 2):
        assert (drawings[:, one] != drawings[:, other]).any(-1).all()


def test_fewer_drawings_are_the_first_of_more():
    few, many = draw("aZ?", 2).reshape(3, 2, 8, 8), draw("aZ?", 5).reshape(3, 5, 8, 8)
    assert np.array_equal(few, many[:, :2])
    assert np.array_equal(draw("Z", 2), few[1])


def test_letters_split_the_same_drawings_by_seed(letters):
    other = SMALL.splits(1)
    assert same(letters, SMALL.splits(0))
    assert not same(letters, other)
    assert np.array_equal(all_rows(letters), all_rows(other))


def test_drawings_are_the_same_bits_in_another_process():
    code = (
        "import hashlib; from finefuse_zoo.datasets._drawing import draw; from finefuse_zoo.datasets.letters import "
        "CHARACTERS; print(hashlib.sha256(draw(CHARACTERS, 4).tobytes()).hexdigest())"
    )
    assert run_python(code) == hashlib.sha256(draw(CHARACTERS, 4).tobytes()).hexdigest()


def test_drawing_leaves_the_global_generators_alone():
    before = np.random.get_state()[1].copy(), torch.get_rng_state().clone()
    SMALL.splits(3)
    assert np.array_equal(before[0], np.random.get_state()[1])
    assert torch.equal(before[1], torch.get_rng_state())


# -------------------------------------------------------------------------------------------------------------- digits


def test_digits_splits_have_the_declared_counts():
    splits = Digits(shots=3, val=7).splits(0)
    assert counts(splits.train) == [3] * 10
    assert counts(splits.val) == [7] * 10
    assert counts(splits.test) == [n - 10 for n in np.bincount(load_digits().target)]
    assert splits.train.x.shape == (30, 1, 8, 8)
    assert splits.train.x.dtype == torch.float32


def test_digits_by_default_are_ten_a_class_and_mostly_test():
    splits = Digits().splits(0)
    assert [len(p) for p in parts(splits)] == [100, 200, 1497]


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_digits_splits_together_are_every_digit_once(seed):
    digits = load_digits()
    rows = np.c_[digits.data, digits.target]
    assert np.array_equal(all_rows(Digits().splits(seed)), rows[np.lexsort(rows.T)])


def test_digits_splits_depend_on_the_seed_alone():
    assert same(Digits().splits(4), Digits().splits(4))
    assert not same(Digits().splits(4), Digits().splits(5))


def test_more_shots_are_fewer_plus_more_and_val_stays():
    few, many = Digits(shots=3).splits(2), Digits(shots=10).splits(2)
    assert torch.equal(few.val.x, many.val.x)
    rows = {tuple(row) for row in pixels(many.train)}
    assert all(tuple(row) in rows for row in pixels(few.train))


def test_digits_leave_test_examples_of_every_class_at_the_largest_parameters():
    assert min(counts(Digits(shots=100, val=50).splits(0).test)) > 0


@pytest.mark.parametrize(
    ("name", "params", "key"),
    [
        ("digits", {"shots": 0}, "shots"),
        ("digits", {"shots": 101}, "shots"),
        ("digits", {"val": 51}, "val"),
        ("letters", {"per_class": 19}, "per_class"),
    ],
)
def test_sizes_out_of_bounds_are_refused(name, params, key):
    with pytest.raises(ParameterError) as caught:
        Registry(["finefuse_zoo.hooks"], entry_points=False).build("dataset", Ref.of(name, **params))
    assert caught.value.key == key


# -------------------------------------------------------------------------------------------------------- fingerprints


def test_fingerprints_follow_the_parameters():
    sets = [Letters(), SMALL, Digits(), Digits(shots=3), Digits(val=30), Digits(shots=30, val=3)]
    assert len({one.fingerprint() for one in sets}) == len(sets)
    assert Digits().fingerprint() == Digits().fingerprint()


def test_the_fingerprint_of_digits_follows_the_file(monkeypatch, tmp_path):
    before = Digits().fingerprint()
    folder = tmp_path / "datasets" / "data"
    folder.mkdir(parents=True)
    (folder / "digits.csv.gz").write_bytes(b"other digits")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: importlib.util.spec_from_file_location(name, tmp_path / "__init__.py")
    )
    assert Digits().fingerprint() != before


def test_the_fingerprint_of_letters_follows_the_version_of_pillow(monkeypatch):
    before = Letters().fingerprint()
    monkeypatch.setattr("finefuse_zoo.datasets.letters.version", lambda name: f"{name} 99")
    assert Letters().fingerprint() != before


@pytest.mark.parametrize("origin", [None, "somewhere/__init__.py"])
def test_digits_without_scikit_learns_file_say_so(monkeypatch, tmp_path, origin):
    spec = origin and importlib.util.spec_from_file_location("sklearn", tmp_path / origin)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(FinefuseError, match=r"'digits' needs scikit-learn.*digits\.csv\.gz does not exist"):
        Digits().fingerprint()


def test_fingerprints_import_neither_torch_nor_sklearn():
    code = (
        "import sys; from finefuse_zoo.datasets.letters import Letters; from finefuse_zoo.datasets.digits import Digits"
        "; print(Letters().fingerprint(), Digits().fingerprint())"
        "; print([m for m in ('torch', 'sklearn', 'numpy', 'PIL') if m in sys.modules])"
    )
    prints, heavy = run_python(code).splitlines()
    assert prints == f"{Letters().fingerprint()} {Digits().fingerprint()}"
    assert heavy == "[]"
