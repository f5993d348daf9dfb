"""SPSL as a whole: what the shallow network keeps, and what it sees."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor

from facemill import ConfigError
from facemill.detectors.forgery.plain import Plain, PlainOptions
from facemill.detectors.forgery.spsl.network import SPSL, SPSLOptions
from facemill.detectors.forgery.spsl.phase import phase_image


def small(**options: Any) -> SPSL:
    torch.manual_seed(0)
    return SPSL(SPSLOptions(**{"backbone": "tinynet_e", "size": 64, "drop": (), **options})).eval()


def images() -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_shallow_network_is_xception_without_its_middle_flow() -> None:
    with torch.device("meta"):
        detector = SPSL(SPSLOptions()).eval()
        whole = timm.create_model("legacy_xception")
        output = detector(torch.empty(2, 3, 299, 299))
    middle = tuple(f"block{index}." for index in range(4, 12))
    kept = {name: w.shape for name, w in whole.named_parameters() if not name.startswith((*middle, "fc."))}
    fourth_channel, head = 32 * 3 * 3, 2048 + 1
    expected = sum(shape.numel() for shape in kept.values()) + fourth_channel + head
    assert sum(weight.numel() for weight in detector.parameters()) == expected
    assert detector.backbone.strides == (2, 4, 8, *[16] * 9, 32, 32)
    assert detector.backbone.channels == (64, 128, 256, *[728] * 9, 1024, 2048)
    assert output.logit.shape == (2,)


def test_the_stem_sees_the_image_and_the_phase_of_its_mean_channel() -> None:
    detector = small(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    seen: list[Tensor] = []
    detector.backbone.stages[0].register_forward_pre_hook(lambda _m, x: seen.append(x[0]))
    crops = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    x = detector.input_spec.normalise(crops)
    detector(x)
    assert seen[0].shape == (2, 4, 64, 64)
    assert torch.equal(seen[0][:, :3], x)
    torch.testing.assert_close(seen[0][:, 3:], phase_image(crops.mean(1, keepdim=True)), atol=1e-3, rtol=0)


def test_without_phase_and_shallowness_it_is_the_plain_backbone() -> None:
    detector = small(phase=False)
    plain = Plain(PlainOptions(backbone="tinynet_e", size=64)).eval()
    plain.load_state_dict(detector.state_dict())
    with torch.no_grad():
        assert torch.equal(detector(images()).logit, plain(images()).logit)


def test_weights_of_a_file_start_all_four_channels(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = timm.create_model("tinynet_e")
    save_file(network.state_dict(), tmp_path / "tinynet.safetensors")
    detector = small(weights=tmp_path / "tinynet.safetensors")
    stem = detector.backbone.stages[0][0].weight
    for channel in range(4):
        torch.testing.assert_close(stem[:, channel], network.conv_stem.weight[:, channel % 3] * 3 / 4)
    kept = detector.backbone.stages[4].state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in network.blocks[3].state_dict().items())


def test_stages_that_are_missing_or_needed_cannot_be_left_out() -> None:
    with pytest.raises(ConfigError, match="no stage 40 to drop: its last one is"):
        small(drop=(40,))
    with pytest.raises(ConfigError, match="do not fit together without 3, 6: drop stages that leave"):
        small(drop=(3, 6))
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        SPSLOptions(drop=(0,))
