"""Released checkpoints score as their own networks do, and every tensor is placed or named."""

from functools import cache

import pytest
import torch
from torch import Tensor

from facemill import DetectorError
from facemill.detectors.forgery.released import Released, convert
from tests.detectors.forgery.released.layouts import etd_tensors, mat_tensors, sia_tensors
from tests.detectors.forgery.released.networks import etd_log_odds, mat_log_odds, sia_log_odds

LAYOUTS = {"mat": mat_tensors, "etd": etd_tensors, "sia": sia_tensors}
names = pytest.mark.parametrize("name", list(LAYOUTS))


@cache
def tensors(name: str) -> dict[str, Tensor]:
    return LAYOUTS[name]()


@cache
def imported(name: str) -> Released:
    return convert(name, tensors(name))


def images(count: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    blobs = torch.nn.functional.interpolate(torch.rand(count, 3, 7, 7, generator=generator), (side, side))
    return 0.8 * blobs + 0.2 * torch.rand(count, 3, side, side, generator=generator)


def log_odds(name: str, pixels: Tensor) -> Tensor:
    detector = imported(name).detector
    with torch.no_grad():
        return detector(detector.input_spec.normalise(pixels)).logit


def check(found: Tensor, expected: Tensor) -> None:
    """Far closer than the scores of different images are to each other."""
    assert float(expected.std()) > 1e-3
    assert float((found - expected).abs().max()) < 1e-3 * float(expected.std())


def test_mat_scores_as_its_release() -> None:
    pixels = images(3, 200)  # maps of odd sides, for which the release's paddings are too small
    check(log_odds("mat", pixels), mat_log_odds(tensors("mat"), "b0", pixels, heads=4))


def test_etd_scores_as_its_release_which_sees_bgr() -> None:
    pixels = images(3, 96)
    check(log_odds("etd", pixels), etd_log_odds(tensors("etd"), 2, pixels))


def test_sia_scores_as_its_release_with_an_image_at_a_time() -> None:
    pixels = images(3, 128)
    check(log_odds("sia", pixels), torch.cat([sia_log_odds(tensors("sia"), image[None]) for image in pixels]))


@names
def test_every_tensor_is_placed_or_named(name: str) -> None:
    released = imported(name)
    assert sorted(released.placed + released.left_over) == sorted(tensors(name))
    modules = {key.rpartition(".")[0] for key in released.left_over}
    if name == "sia":
        second_names = {module for module in modules if module.startswith("encoder.layer")}
        constants = {f"encoder.att{number}conv" for number in range(7)}
        unused = {"encoder.model.classifier", "encoder.linear", "encoder.conv4.0", "encoder.conv4.1"}
        assert modules - second_names == constants | unused
    else:
        assert modules == {"mat": {"net._fc", "auxiliary_loss"}, "etd": set()}[name]


@names
def test_the_score_depends_on_every_placed_weight(name: str) -> None:
    """A tensor that is placed where nothing reads it is not placed."""
    detector = imported(name).detector
    detector.zero_grad()
    detector(detector.input_spec.normalise(images(2, 128))).logit.sum().backward()
    idle = {key for key, weight in detector.named_parameters() if weight.grad is None or not weight.grad.any()}
    unscored = {"etd": ("joint_head", "without_heads")}
    assert {key for key in idle if not key.startswith(unscored.get(name, ()))} == set()


def test_the_options_are_read_off_the_shapes() -> None:
    options = convert("mat", mat_tensors("b4", heads=3)).options
    assert (options["backbone"], options["size"], options["num_attentions"]) == ("tf_efficientnet_b4.ap_in1k", 380, 3)
    assert (options["texture_tap"], options["attention_tap"]) == ("L1", "L5")
    assert convert("etd", etd_tensors(blocks=3)).options["n"] == 3


def test_names_of_data_parallel_are_understood() -> None:
    wrapped = {f"module.{key}": value for key, value in tensors("etd").items()}
    assert convert("etd", wrapped).left_over == []


@names
@pytest.mark.parametrize("other", list(LAYOUTS))
def test_other_networks_are_refused(name: str, other: str) -> None:
    if name != other:
        with pytest.raises(DetectorError, match=f"no checkpoint of {name}'s release"):
            convert(name, tensors(other))


@names
def test_a_checkpoint_that_lacks_a_tensor_or_has_another_shape_is_refused(name: str) -> None:
    lost = {"mat": "net._bn1.bias", "etd": "local_linear1.bias", "sia": "encoder.conv3.0.bias"}[name]
    state = dict(tensors(name))
    value = state.pop(lost)
    with pytest.raises(DetectorError, match=r"it has no .*bias"):
        convert(name, state)
    with pytest.raises(DetectorError, match="size mismatch"):
        convert(name, {**state, lost: value[1:]})


def test_a_detector_without_a_release_is_refused() -> None:
    with pytest.raises(DetectorError, match="No checkpoint of lrl can be imported: use mat, etd, sia"):
        convert("lrl", {})
