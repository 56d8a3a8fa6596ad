"""Training images changed at random."""

from __future__ import annotations

import pytest
import torch

import finefuse
from finefuse import Classification, Ref, Regression
from finefuse.cli import main
from finefuse.discovery import capabilities
from finefuse.discovery.registry import Registry
from finefuse.engine.randomness import seeded
from finefuse.engine.train.augment import augmentation
from finefuse.errors import NotApplicable
from finefuse.testing import prepared

IMAGES = Classification(3, "image", (1, 8, 8))
Y = torch.tensor([0, 1, 2, 0, 1, 2])


def pictures(dtype=torch.float32):
    return torch.arange(6 * 64).view(6, 1, 8, 8).remainder(251).to(dtype)


def changed(names, x, y=Y, seed=0):
    with seeded(seed):
        return augmentation(names, IMAGES)(x, y)


def test_a_flip_turns_some_images_and_not_others():
    x = pictures()
    flipped, y = changed(["flip"], x)
    turned = [not torch.equal(a, b) for a, b in zip(flipped, x, strict=True)]
    assert 0 < sum(turned) < 6
    assert torch.equal(torch.stack([a.flip(-1) if t else a for a, t in zip(flipped, turned, strict=True)]), x)
    assert torch.equal(y, Y)


def test_a_crop_moves_every_image_by_itself_and_fills_with_zeros():
    x = pictures(torch.uint8) + 1
    cropped, _ = changed(["crop"], x)
    assert (cropped.shape, cropped.dtype) == (x.shape, torch.uint8)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    found = []
    for image, whole in zip(cropped, padded, strict=True):
        places = [(r, c) for r in range(3) for c in range(3) if torch.equal(whole[:, r : r + 8, c : c + 8], image)]
        assert len(places) == 1
        found += places
    assert len(set(found)) > 1


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixing_gives_shares_of_classes(name):
    pytest.importorskip("torchvision")
    x, y = changed([name], pictures())
    assert y.shape == (6, 3)
    assert torch.allclose(y.sum(1), torch.ones(6))
    assert ((y > 0).sum(1) <= 2).all()
    assert not torch.equal(x, pictures())


def test_randaugment_takes_bytes_alone():
    pytest.importorskip("torchvision")
    x, _ = changed(["randaugment"], pictures(torch.uint8))
    assert (x.shape, x.dtype) == ((6, 1, 8, 8), torch.uint8)
    with pytest.raises(NotApplicable, match="randaugment takes images as bytes"):
        changed(["randaugment"], pictures())


def test_mixed_bytes_are_rounded_and_so_no_darker_in_the_mean():
    pytest.importorskip("torchvision")
    x = torch.randint(0, 256, (6, 1, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mixed, exact = changed(["mixup"], x)[0], changed(["mixup"], x.float())[0]
    assert mixed.dtype == torch.uint8
    assert not torch.equal(exact, exact.round())
    assert torch.equal(mixed.float(), exact.round())


@pytest.mark.parametrize("channels", [2, 4])
def test_randaugment_refuses_other_channels_than_one_or_three(channels):
    pytest.importorskip("torchvision")
    with pytest.raises(NotApplicable, match=f"of one channel or three, and these have {channels}$"):
        augmentation(["randaugment"], Classification(3, "image", (channels, 8, 8)))


def test_the_same_seed_gives_the_same_changes():
    names = ["flip", "crop"]
    assert torch.equal(changed(names, pictures())[0], changed(names, pictures())[0])
    assert not torch.equal(changed(names, pictures())[0], changed(names, pictures(), seed=1)[0])


def test_only_images_and_only_classes():
    with pytest.raises(NotApplicable, match="flip change images, and these are tabular inputs"):
        augmentation(["flip"], Classification(3, "tabular", (4,)))
    with pytest.raises(NotApplicable, match="mixup mix targets, and those of regression can't be mixed"):
        augmentation(["mixup"], Regression(1, "image", (1, 8, 8)))
    assert augmentation([], Classification(3, "tabular", (4,))) is None


def test_training_sees_other_images_each_time_and_evaluation_does_not(lab):
    seen = []

    def spy(x, y):
        seen.append(x)
        return -x, y

    net, plain = lab.cnn(), lab.trainer(lab.IMAGES)
    trainer = lab.trainer(lab.IMAGES, augment=spy)
    trainer.fit(net, [{"params": net.parameters()}])
    assert len(seen) == trainer.budget
    x = lab.splits(lab.IMAGES).val.x
    assert torch.equal(trainer.outputs(net, x), plain.outputs(net, x))
    mirror = lab.cnn()
    data = lab.splits(lab.IMAGES).train
    lab.trainer(lab.IMAGES, train=type(data)(-data.x, data.y)).fit(mirror, [{"params": mirror.parameters()}])
    assert lab.changed(lab.state(mirror), net) == set()


def test_a_frozen_prefix_is_evaluated_anew_for_changed_images(lab):
    def change(x, y):
        return x + torch.rand(1), y

    heads = []
    for augment in (None, change):
        net = lab.cnn()
        lab.trainer(lab.IMAGES, augment=augment).fit(net, [{"params": net.head.parameters()}])
        heads.append(net.head.weight.detach())
    assert not torch.allclose(*heads, atol=1e-3)


def test_a_loss_of_one_s_own_refuses_shares_of_classes(lab):
    pytest.importorskip("torchvision")
    net = lab.cnn()
    trainer = lab.trainer(lab.IMAGES, augment=augmentation(["mixup"], lab.IMAGES))
    trainer.fit(net, [{"params": net.parameters()}], steps=2)
    with pytest.raises(NotApplicable, match="the suite mixes labels"):
        trainer.fit(net, [{"params": net.parameters()}], loss=lambda z, batch: z.sum())


def test_a_suite_with_augmentation(workshop):
    rows = [
        workshop(
            datasets=[{"use": "points", "images": True}],
            backbones=[{"use": "tiny", "images": True}],
            schemes=["full"],
            fusions=[],
            pools={},
            latency=[],
            augment=names,
        ).run("tune")[0]
        for names in ([], ["flip", "crop"])
    ]
    assert rows[0]["key"] != rows[1]["key"]
    assert rows[0]["outputs"] != rows[1]["outputs"]
    assert rows[1]["parts"]["budget: augment"] == '["flip","crop"]'


# -------------------------------------------------------------------------------------------- what it doesn't reach


def planned(schemes: list[object], **more: object) -> tuple[str, ...]:
    given = {"name": "t", "datasets": ["digits"], "backbones": ["cnn-s"], "schemes": schemes, "augment": ["flip"]}
    return finefuse.plan({**given, **more}, device="cpu").remarks


def test_a_plan_says_which_schemes_see_no_changed_images():
    probe = {"use": "linear-probe", "as": "probe"}
    chain = {"use": "chain", "of": [probe["use"], "zero-step"]}
    mixed = {"use": "chain", "of": ["linear-probe", "full"]}
    search = {"use": "search", "of": "linear-probe", "trials": 2, "as": "searched"}
    (said,) = planned(["full", probe, "h-score", chain, mixed, search, "lp-ft"])
    start = "augment (flip) changes nothing for schemes without steps: "
    assert said == f'{start}probe, h-score, chain(of=["linear-probe", "zero-step"]), searched'
    assert planned(["full", "lp-ft"]) == ()
    assert planned(["linear-probe"], augment=[]) == ()


def test_check_says_so_too(tmp_path, capsys):
    suite = tmp_path / "s.toml"
    suite.write_text(
        'name = "s"\ndatasets = ["digits"]\nbackbones = ["cnn-s"]\nschemes = ["logme"]\naugment = ["flip", "crop"]\n'
    )
    with pytest.raises(SystemExit):
        main(["check", str(suite)])
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("all good")
    assert second == "augment (flip, crop) changes nothing for schemes without steps: logme"


@pytest.mark.slow
def test_schemes_that_take_no_steps_say_so_and_no_others():
    registry = Registry()
    names = [found.entry.name for found in registry.entries("scheme") if not found.missing]
    idle = {"as-is"}  # which isn't for the small task
    for name in names:
        if any(one.default == "required" for one in registry.parameters("scheme", name)):
            continue
        scheme = registry.build("scheme", Ref(name))
        on = prepared(scheme, IMAGES, 1)
        try:
            scheme.tune(on)
        except NotApplicable:
            continue
        if not on.trainer.spent:
            idle.add(name)
    assert idle == {name for name in names if capabilities.takes_steps(registry.target("scheme", name)) is False}
    assert idle == {"linear-probe", "zero-step", "as-is", "logme", "leep", "h-score"}
