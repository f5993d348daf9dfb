import pytest
import torch
from torch import Tensor, nn

from facemill.detectors.forgery import ForgeryDetector, ForgeryOptions, ForgeryOutput, InputSpec, create
from facemill.detectors.forgery.gradcam import grad_cam


class Tiny(ForgeryDetector):
    """Three feature maps; the logit is the weighted sum of their squares' means."""

    def __init__(self, weights: tuple[float, ...] = (1.0, -2.0, 0.5)) -> None:
        super().__init__(ForgeryOptions(size=6))
        self.input_spec = InputSpec(6)
        self.features = nn.Conv2d(3, 3, 3, stride=2, padding=1)
        self.frozen = nn.BatchNorm2d(3).eval()
        self.weights = weights

    @property
    def cam_layer(self) -> nn.Module:
        return self.features

    def forward(self, images: Tensor) -> ForgeryOutput:
        squares = self.features(images).square().mean((2, 3))
        return ForgeryOutput((squares * squares.new_tensor(self.weights)).sum(1))


def by_hand(features: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Eqs. 1 and 2 in loops: the gradient of w_k mean(a^2) is 2 w_k a / (h w)."""
    batch, channels, height, width = features.shape
    maps = torch.zeros(batch, height, width, dtype=torch.float64)
    for b in range(batch):
        for k in range(channels):
            gradients = [2 * weights[k] * float(a) / (height * width) for a in features[b, k].flatten()]
            alpha = sum(gradients) / len(gradients)
            for y in range(height):
                for x in range(width):
                    maps[b, y, x] += alpha * float(features[b, k, y, x])
        for y in range(height):
            for x in range(width):
                maps[b, y, x] = max(0.0, float(maps[b, y, x]))
        maps[b] /= maps[b].max()
    return maps


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(3))


def test_maps_are_the_papers_computed_by_hand(images):
    torch.manual_seed(0)
    detector = Tiny()
    maps = grad_cam(detector, images)
    expected = by_hand(detector.features(images).detach().double(), detector.weights)
    assert maps.shape == (4, 3, 3)
    assert torch.allclose(maps.double(), expected, atol=1e-5)
    assert maps.amax((1, 2)).tolist() == pytest.approx([1] * 4)


@pytest.mark.parametrize("weights", [(0.0, 0.0, 0.0), (-1.0, -1.0, -1.0)])
def test_maps_are_zero_where_nothing_speaks_for_fake(images, weights):
    detector = Tiny(weights)
    with torch.no_grad():
        for parameter in detector.features.parameters():
            parameter.abs_()  # and so, with positive images, are the features
    assert torch.equal(grad_cam(detector, images.abs()), torch.zeros(4, 3, 3))


def test_the_detector_is_left_as_it_was(images):
    detector = Tiny().train()
    detector.frozen.eval()
    grad_cam(detector, images)
    assert detector.training
    assert not detector.frozen.training
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert not detector.features._forward_hooks
    assert not images.requires_grad


def test_frozen_detectors_and_no_grad_do_not_matter(images):
    detector = Tiny()
    expected = grad_cam(detector, images)
    with torch.no_grad():
        assert torch.equal(grad_cam(detector.requires_grad_(False), images), expected)


def test_a_pooled_linear_head_gives_the_class_activation_map():
    detector = create("resnet18", size=64)
    with torch.no_grad():
        detector.classifier.weight.abs_()  # features are positive, and so is the map
    crops = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = grad_cam(detector, crops)
    with torch.no_grad():
        features = detector.eval().backbone(crops)
    expected = (features * detector.classifier.weight[0, :, None, None]).sum(1)
    assert expected.max() > 0
    assert torch.allclose(maps, expected / expected.amax((1, 2), keepdim=True), atol=1e-5)


class TinyOfClips(Tiny):
    """`Tiny` on each frame of a clip of three; the logit is the sum of those of its frames."""

    def __init__(self) -> None:
        super().__init__()
        self.input_spec = InputSpec(6, clip=3)

    def forward(self, images: Tensor) -> ForgeryOutput:
        return ForgeryOutput(super().forward(images.flatten(0, 1)).logit.reshape(-1, 3).sum(1))


class TinyIn3D(TinyOfClips):
    """The same, of the first frame and the last one, as two steps of a map in time."""

    def forward(self, images: Tensor) -> ForgeryOutput:
        self.steps = torch.stack([self.features(images[:, t]) for t in (0, 2)], 2)
        squares = self.cam_layer(self.steps).square().mean((2, 3, 4))
        return ForgeryOutput((squares * squares.new_tensor(self.weights)).sum(1))

    @property
    def cam_layer(self) -> nn.Module:
        return self.frozen3d

    def __init__(self) -> None:
        super().__init__()
        self.frozen3d = nn.Identity()


def test_each_frame_of_a_clip_has_a_map_and_a_clip_one_maximum(images):
    torch.manual_seed(0)
    detector = TinyOfClips()
    clips = torch.stack([images, 0.5 * images, 2 * images], 1)
    maps = grad_cam(detector, clips)
    assert maps.shape == (4, 3, 3, 3)
    assert maps.amax((1, 2, 3)).tolist() == pytest.approx([1] * 4)
    for t in range(3):
        alone = grad_cam(_single(detector), clips[:, t])
        torch.testing.assert_close(maps[:, t] / maps[:, t].amax((1, 2), keepdim=True), alone)


def _single(detector: Tiny) -> Tiny:
    single = Tiny()
    single.load_state_dict(detector.state_dict())
    return single


def test_a_map_with_fewer_steps_than_frames_is_interpolated_over_time(images):
    torch.manual_seed(0)
    detector = TinyIn3D()
    maps = grad_cam(detector, torch.stack([images, images, 2 * images], 1))
    assert maps.shape == (4, 3, 3, 3)
    torch.testing.assert_close(maps[:, 1] * 2, maps[:, 0] + maps[:, 2])
    features = detector.steps.detach()
    weights = (2 * features * features.new_tensor(detector.weights)[None, :, None, None, None]).mean((2, 3, 4))
    expected = (features * weights[:, :, None, None, None]).sum(1).relu()  # of both steps, [B, 2, h, w]
    torch.testing.assert_close(maps[:, [0, 2]], expected / expected.amax((1, 2, 3), keepdim=True))
