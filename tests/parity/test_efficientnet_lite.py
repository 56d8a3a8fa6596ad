"""`efficientnet-lite` against the network that its weights were published with, at the sides they were trained at."""

from __future__ import annotations

import pytest
import torch

from finefuse import Classification
from finefuse_zoo.backbones.efficientnet_lite import EfficientNetLite
from helpers.pictures import samples


@pytest.mark.parametrize(("size", "side"), [(0, 224), (1, 240), (2, 260)])
def test_outputs_are_those_of_the_published_network_bit_for_bit(size, side):
    published, backbone = pytest.importorskip("efficientnet_lite_pytorch"), EfficientNetLite(size)
    theirs = published.EfficientNet.from_name(f"efficientnet-lite{size}").eval()
    theirs.load_state_dict(torch.load(backbone._file(), weights_only=True))
    ours, x = backbone.build(Classification(1000, "image", (3, side, side))).eval(), samples(side)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(ours.stages[0][0](x)))
