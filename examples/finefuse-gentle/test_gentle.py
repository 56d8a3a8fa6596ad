"""What finefuse promises about every scheme holds for these, and so does what their docstrings say."""

from __future__ import annotations

import copy

import pytest
import torch
from finefuse_gentle import Bottleneck, MeanTeacher, follow

from finefuse.testing import IMAGES, POINTS, check_scheme, prepared, small_net, small_tuning, snapshot


@pytest.mark.parametrize("scheme", [MeanTeacher(), Bottleneck()])
def test_they_keep_the_rules(scheme) -> None:
    check_scheme(scheme)


def test_a_teacher_moves_by_its_decay_and_so_do_its_statistics() -> None:
    teacher, student = small_net(IMAGES, 0), small_net(IMAGES, 1)
    before = snapshot(teacher)
    follow(teacher, student, 0.75)
    for name, now in teacher.state_dict().items():
        new = student.state_dict()[name]
        if now.is_floating_point():
            torch.testing.assert_close(now, 0.75 * before[name] + 0.25 * new)
        else:
            assert torch.equal(now, new)
    assert any("running_var" in name for name in before)


def test_what_is_deployed_is_the_mean_of_all_weights_while_these_are_few() -> None:
    on = small_tuning(POINTS, epochs=1)
    seen = [snapshot(on.model)]
    fit = on.trainer.fit

    def spy(*args, after_step, **how):
        def stepped(optimizer):
            seen.append(snapshot(on.model))
            after_step(optimizer)

        fit(*args, after_step=stepped, **how)

    on.trainer.fit = spy
    MeanTeacher(decay=0.99, alpha=0.0).tune(on)
    assert len(seen) == on.trainer.budget + 1
    for name, now in on.model.state_dict().items():
        torch.testing.assert_close(now, torch.stack([state[name] for state in seen]).mean(0))


def test_a_large_alpha_keeps_the_backbone_where_it_was() -> None:
    far, near = small_tuning(POINTS), small_tuning(POINTS)
    MeanTeacher(alpha=0.0).tune(far)
    MeanTeacher(alpha=5.0).tune(near)

    def distance(on) -> float:
        pairs = zip(on.model.stages.parameters(), on.pretrained.stages.parameters(), strict=True)
        return sum(float((p - w0).detach().square().sum()) for p, w0 in pairs)

    assert distance(near) < distance(far) / 2


def test_a_bottleneck_starts_as_the_network_without_it() -> None:
    bare, on = small_net(IMAGES), prepared(Bottleneck(), IMAGES)
    x = on.train.x
    torch.testing.assert_close(on.model.eval()(x), bare(x), rtol=0, atol=0)
    inner = max(1, bare.head.in_features // 4)
    assert [tuple(p.shape) for p in on.model.stages[-1].parameters() if p.ndim > 1] == [
        (inner, bare.head.in_features),
        (bare.head.in_features, inner),
    ]
    backbone = copy.deepcopy(on.model.stages[:-1]).state_dict()
    Bottleneck().tune(on)
    for name, now in on.model.stages[:-1].state_dict().items():
        assert torch.equal(now, backbone[name])
