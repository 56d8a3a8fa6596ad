"""Data sets that are drawn on the spot: what the drawings show, the same bits everywhere, at any size."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage

from finefuse import Ref, Splits
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.errors import ParameterError
from finefuse_zoo.datasets._canvas import FINE, Canvas, Rolls, canvas, counted
from finefuse_zoo.datasets._drawn import PER_CLASS, Drawn
from finefuse_zoo.datasets._pixels import CENTRE, SPREAD
from finefuse_zoo.datasets.arrows import WAYS, Arrows
from finefuse_zoo.datasets.dice import Dice
from finefuse_zoo.datasets.faces import Faces
from finefuse_zoo.datasets.gratings import Gratings
from finefuse_zoo.datasets.shapes import Shapes
from finefuse_zoo.datasets.signs import Signs

BITS = {
    Shapes: "7594f66e9acce58b",
    Signs: "da42df375e2404bc",
    Gratings: "986b7a7f26491c7d",
    Dice: "e67ff544007aad36",
    Faces: "c3a0b3fcd4d19a22",
    Arrows: "5c2b95db74aee141",
}
"""Digests of the drawings, which no machine, Python or numpy may change: they are what results were measured on."""
each = pytest.mark.parametrize("kind", BITS, ids=lambda kind: kind.__name__)
MIDDLE = (0, 0)


@cache
def made(kind: type[Drawn], **given: int) -> Splits:
    return kind(**given).splits(0)


def pictures(kind: type[Drawn], label: str, side: int = 8, count: int = 12) -> np.ndarray:
    """Some drawings of a class, (count, side, side) from 0 to 16."""
    drawn = kind(side=side)
    return np.stack([counted(drawn.draw(label, Rolls(f"{kind.__name__}, {label}, {n}"))) for n in range(count)])


def upright(side: int = 64) -> Canvas:
    """A canvas without distortion."""
    at = ((2 * np.arange(FINE * side) + 1 - FINE * side) * 1000 // (FINE * side)).astype(np.int32)
    return Canvas(np.broadcast_to(at, (len(at), len(at))), np.broadcast_to(at[:, None], (len(at), len(at))))


# -------------------------------------------------------------------------------------------------------------- splits


@each
def test_splits_have_the_declared_shapes_and_counts(kind):
    splits, classes = made(kind), len(kind.classes)
    assert splits.task == kind().task
    for part, count in ((splits.train, 10), (splits.val, 20), (splits.test, PER_CLASS - 30)):
        assert torch.bincount(part.y).tolist() == [count] * classes
        assert part.x.shape == (count * classes, 1, 8, 8)
        assert (part.x.dtype, part.y.dtype) == (torch.float32, torch.int64)
    values = (splits.test.x.double() * SPREAD + CENTRE).unique()
    assert torch.equal(values.round(), torch.arange(17.0))


@each
def test_drawings_are_the_same_bits_on_every_machine(kind):
    sha = hashlib.sha256(b"".join(pictures(kind, label).tobytes() for label in kind.classes))
    assert sha.hexdigest()[:16] == BITS[kind]


def test_the_seed_decides_what_a_drawing_is_for_and_nothing_else():
    one, other = made(Dice), Dice().splits(1)
    assert torch.equal(Dice().splits(0).train.x, one.train.x)
    assert not torch.equal(one.train.x, other.train.x)
    rows = [
        torch.cat([torch.cat([part.x.flatten(1), part.y[:, None]], 1) for part in (s.train, s.val, s.test)])
        for s in (one, other)
    ]
    assert len(rows[0]) == PER_CLASS * 6
    assert torch.equal(*(torch.unique(part, dim=0) for part in rows))


@each
def test_no_drawing_is_there_twice(kind):
    rows = [row.tobytes() for part in (made(kind).train, made(kind).val, made(kind).test) for row in part.x.numpy()]
    assert len(rows) == len(set(rows)) == PER_CLASS * len(kind.classes)


def test_more_shots_are_fewer_plus_more_and_val_stays():
    few, many = made(Dice), Dice(shots=15).splits(0)
    assert torch.equal(few.val.x, many.val.x)
    rows = {row.tobytes() for row in many.train.x.numpy()}
    assert all(row.tobytes() in rows for row in few.train.x.numpy())


@each
def test_global_generators_are_left_alone(kind):
    before = np.random.get_state()[1].copy(), torch.get_rng_state().clone()
    kind().draw(kind.classes[0], Rolls("any"))
    assert np.array_equal(before[0], np.random.get_state()[1])
    assert torch.equal(before[1], torch.get_rng_state())


@each
def test_the_nearest_class_mean_is_neither_useless_nor_enough(kind):
    splits = made(kind)
    means = torch.stack([splits.train.x[splits.train.y == label].mean(0) for label in range(splits.task.outputs)])
    right = torch.cdist(splits.test.x.flatten(1), means.flatten(1)).argmin(1) == splits.test.y
    assert 1.3 / splits.task.outputs < float(right.double().mean()) < 0.9


# --------------------------------------------------------------------------------------------------------------- sizes


@each
def test_larger_pictures_are_the_same_drawings(kind):
    for label in (kind.classes[0], kind.classes[-1]):
        small, large = pictures(kind, label, count=3), pictures(kind, label, side=64, count=3)
        reduced = large.reshape(3, 8, 8, 8, 8).mean((2, 4))
        assert np.abs(reduced - small).max() < 5  # points of small pictures are few: 16 a pixel
        assert np.corrcoef(reduced.ravel(), small.ravel())[0, 1] > 0.98


def test_larger_pictures_are_bytes_from_black_to_white():
    splits = Dice(side=16, shots=1, val=1).splits(0)
    assert splits.task.input_shape == (1, 16, 16)
    assert splits.train.x.dtype == torch.uint8
    assert splits.train.x.shape == (6, 1, 16, 16)
    assert (int(splits.test.x.min()), int(splits.test.x.max())) == (0, 255)
    assert torch.equal(splits.test.y, Dice(shots=1, val=1).splits(0).test.y)


# ----------------------------------------------------------------------------------------------------- what they show


@each
def test_classes_have_names(kind):
    assert capabilities.description(kind(), 0).outputs == {"classes": list(kind.classes)}
    assert len(set(kind.classes)) == kind().task.outputs


@pytest.mark.parametrize(("pips", "label"), list(enumerate(Dice.classes, 1)))
def test_dice_have_as_many_pips_as_they_say(pips, label):
    found = [ndimage.label(picture)[1] for picture in pictures(Dice, label, side=64)]
    assert int(np.median(found)) == pips
    assert max(found) == pips


@pytest.mark.parametrize("label", WAYS)
def test_arrows_have_their_heads_where_they_point(label):
    mean = pictures(Arrows, label, side=32, count=40).mean(0)
    aside = np.array(ndimage.center_of_mass(mean**2))[::-1] - 15.5
    way = np.array(WAYS[label])
    assert aside @ way / np.linalg.norm(aside) / np.linalg.norm(way) > 0.8


@pytest.mark.parametrize("label", Gratings.classes)
def test_gratings_have_their_direction_and_width(label):
    waves = np.abs(np.fft.fft2(pictures(Gratings, label, side=64, count=30) - 6.4, s=(256, 256))).mean(0)
    down, right = (at - 256 * (at > 128) for at in divmod(int(waves.argmax()), 256))
    down, right = (down, right) if down > 0 or (down == 0 and right > 0) else (-down, -right)
    assert (np.hypot(down, right) < 3 * 4) == label.startswith("wide")  # waves in a picture, by quarters
    angle = np.degrees(np.arctan2(down, right))
    meant = {"flat": 90, "falling": 135, "upright": 0, "rising": 45}[label.split(", ")[1]]
    assert min(abs(angle - meant), 180 - abs(angle - meant)) < 16


def test_runes_that_are_others_upside_down_are_so():
    madr, yr = (sum(pictures(Signs, label, side=32, count=60).astype(float)) for label in ("madr", "yr"))
    assert np.corrcoef(madr.ravel(), yr[::-1].ravel())[0, 1] > np.corrcoef(madr.ravel(), yr.ravel())[0, 1]


# -------------------------------------------------------------------------------------------------------------- canvas


def test_a_disc_has_the_area_of_one():
    assert float(upright().disc(MIDDLE, 500).mean()) == pytest.approx(np.pi / 16, rel=0.01)
    assert float(upright().disc((1000, 0), 500).mean()) == pytest.approx(np.pi / 32, rel=0.02)


def test_a_line_is_as_long_and_thick_as_asked_for_with_round_ends():
    area = 1000 * 200 + np.pi * 100**2
    for path in ([(-500, 0), (500, 0)], [(-300, -400), (300, 400)]):
        assert float(upright().line(path, 100).mean()) == pytest.approx(area / 2000**2, rel=0.03)


@pytest.mark.parametrize(
    "corners",
    [
        [(-800, -800), (800, -700), (100, 900)],
        [(-800, 0), (0, -800), (800, 0), (0, 0), (500, 700), (-500, 700)],
        [(-800, -800), (800, 800), (800, -800), (-800, 800)],
    ],
    ids=["convex", "hollow", "crossing itself"],
)
def test_polygons_are_those_of_pillow(corners):
    image = Image.new("1", (2000, 2000))
    ImageDraw.Draw(image).polygon([(x + 1000, y + 1000) for x, y in corners], fill=1)
    across, down = upright().x[0] + 1000, upright().y[:, 0] + 1000
    assert float((upright().polygon(corners) == np.asarray(image)[np.ix_(down, across)]).mean()) > 0.995


def test_distortions_stay_in_their_bounds():
    for n in range(200):
        on = canvas(8, Rolls(str(n)), turn=14, zoom=(0.8, 1.1))
        assert on.x.dtype == on.y.dtype == np.int32
        (a, b), (d, e) = np.gradient(on.x.astype(float)), np.gradient(on.y.astype(float))
        step = 2000 / 32
        assert 1 / 1.12 - 0.05 < float(np.median(b)) / step < 1 / 0.79
        assert abs(float(np.median(d)) / step) < 1 / 0.79
        assert abs(float(np.median(a)) / step) < np.sin(np.radians(14)) / 0.8 + 0.16
        assert abs(float(np.median(e)) / step) < np.sin(np.radians(14)) / 0.8 + 0.01


def test_rolls_hold_both_ends_and_follow_their_text():
    rolls = Rolls("a")
    assert {rolls.whole(2, 4) for _ in range(100)} == {2, 3, 4}
    assert Rolls("a").between(0, 1) == Rolls("a").between(0, 1) != Rolls("b").between(0, 1)


# ---------------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize(
    ("params", "key"), [({"shots": 0}, "shots"), ({"shots": 101}, "shots"), ({"val": 51}, "val"), ({"side": 7}, "side")]
)
def test_sizes_out_of_bounds_are_refused(params, key):
    with pytest.raises(ParameterError) as caught:
        Registry(["finefuse_zoo.hooks"], entry_points=False).build("dataset", Ref.of("signs", **params))
    assert caught.value.key == key


def test_fingerprints_follow_the_kind_and_the_parameters():
    sets = [kind(**given) for kind in BITS for given in ({}, {"shots": 3}, {"val": 30}, {"side": 9})]
    assert len({one.fingerprint() for one in sets}) == len(sets)


def test_to_be_declared_they_need_neither_torch_nor_numpy():
    code = (
        "import sys; from finefuse_zoo.datasets.signs import Signs; s = Signs(); s.fingerprint(); s.task; "
        "s.describe(0); print({'torch', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr
