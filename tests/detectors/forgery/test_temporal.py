"""Detectors of clips: what they see of the order of frames, and torchvision's weights."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models import video

from facemill import ConfigError, DetectorError
from facemill.detectors.forgery import create

SMALL = {"backbone": "test_resnet", "size": 32, "clip": 4}


def clips() -> Tensor:
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def logits(pooling: str, images: Tensor) -> Tensor:
    torch.manual_seed(0)
    detector = create("temporal", pooling=pooling, **SMALL).eval()
    with torch.no_grad():
        return detector(images).logit


def test_the_recurrence_sees_the_order_of_frames_and_the_mean_does_not() -> None:
    """The mean of features before a linear layer is the mean of what each frame alone would get."""
    images = clips()
    assert not torch.allclose(logits("gru", images), logits("gru", images.flip(1)), atol=1e-5)
    torch.testing.assert_close(logits("mean", images), logits("mean", images.flip(1)))
    repeated = [images[:, t : t + 1].expand(-1, 4, -1, -1, -1) for t in range(4)]
    alone = torch.stack([logits("mean", one) for one in repeated]).mean(0)
    torch.testing.assert_close(logits("mean", images), alone)


def test_the_last_state_is_that_of_a_recurrent_layer() -> None:
    torch.manual_seed(0)
    detector = create("temporal", **SMALL).eval()
    cell = detector.recurrence
    layer = torch.nn.GRU(cell.input_size, cell.hidden_size, batch_first=True)
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    with torch.no_grad():
        frames = detector.features.pool(detector.features(clips().flatten(0, 1))).reshape(2, 4, -1)
        expected = detector.classifier(layer(frames)[1][0])[:, 0]
        torch.testing.assert_close(detector(clips()).logit, expected)


def test_a_probe_trains_recurrence_and_classifier_alone() -> None:
    detector = create("temporal", tuning="probe", **SMALL)
    trained = {name.partition(".")[0] for name, weight in detector.named_parameters() if weight.requires_grad}
    assert trained == {"recurrence", "classifier"}


@pytest.mark.parametrize("network", ["r3d_18", "r2plus1d_18"])
def test_torchvision_s_weights_are_used(tmp_path: Path, network: str) -> None:
    torch.manual_seed(1)
    other = getattr(video, network)(weights=None).eval()
    torch.save(other.state_dict(), tmp_path / "weights.pth")
    detector = create("video_resnet", network=network, clip=4, size=32, weights=tmp_path / "weights.pth").eval()
    other.fc = detector.classifier
    with torch.no_grad():
        torch.testing.assert_close(detector(clips()).logit, other(clips().transpose(1, 2))[:, 0])


def test_other_weights_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(DetectorError, match=r"no weights file .*: put torchvision's weights of r3d_18 there"):
        create("video_resnet", weights=path)
    torch.save({"stem.0.weight": torch.zeros(3)}, path)
    with pytest.raises(DetectorError, match=r"is not one of torchvision's r3d_18 \("):
        create("video_resnet", weights=path)


@pytest.mark.parametrize("options", [{"clip": 1}, {"stride": 0}])
def test_impossible_clips_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"Option '{next(iter(options))}' of temporal is invalid"):
        create("temporal", **options)
