"""Filters: which faces are dropped, for which reason, and how a recipe names them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from facemill import ConfigError
from facemill.detectors.face import Face
from facemill.manifests import Reason
from facemill.options import Options
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.config.sections import FilterSettings
from facemill.pipeline.extract.filters import Filter, create_filters, reason_to_drop, sharpness
from facemill.registry import FILTERS

FLAT = np.full((32, 32, 3), 120, np.uint8)
CHECKED = (
    np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((4, 4)))[..., None].repeat(3, axis=2).astype(np.uint8) * 255
)


def face(width: float, height: float) -> Face:
    return Face(np.array([10, 10, 10 + width, 10 + height], np.float32), 0.99, np.zeros((5, 2), np.float32))


@pytest.mark.parametrize(
    ("box", "crop", "settings", "reason"),
    [
        ((40, 90), FLAT, {"min_face": 40}, None),
        ((39.5, 90), FLAT, {"min_face": 40}, Reason.TOO_SMALL),
        ((90, 39.5), FLAT, {"min_face": 40}, Reason.TOO_SMALL),
        ((90, 90), FLAT, {"min_sharpness": 0}, None),
        ((90, 90), FLAT, {"min_sharpness": 50}, Reason.BLURRED),
        ((90, 90), CHECKED, {"min_sharpness": 50}, None),
        ((20, 20), FLAT, {"min_face": 40, "min_sharpness": 50}, Reason.TOO_SMALL),  # the first reason counts
    ],
)
def test_faces_are_dropped_for_the_first_reason(
    box: tuple[float, float], crop: NDArray[np.uint8], settings: dict[str, float], reason: Reason | None
) -> None:
    assert reason_to_drop(face(*box), crop, create_filters(FilterSettings(**settings))) == reason


def test_sharpness_weighs_red_and_blue_as_luma_does() -> None:
    stripes = {}
    for channel, name in ((0, "red"), (2, "blue")):
        image = np.zeros((32, 32, 3), np.uint8)
        image[:, ::2, channel] = 200
        stripes[name] = sharpness(image)
    assert stripes["red"] / stripes["blue"] == pytest.approx((0.299 / 0.114) ** 2, rel=0.05)


class BrightOptions(Options):
    most: float = 200.0


class Bright(Filter):
    options_type = BrightOptions

    def reason(self, face: Face, crop: NDArray[np.uint8]) -> Reason | None:
        return Reason.FILTERED if crop.mean() > self.options.most else None


def test_a_recipe_names_further_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS._found, "bright", Bright)
    recipe = load_recipe("default", ["filter.more={bright: {most: 100}}"], purpose="build")
    filters = create_filters(recipe.filter)
    assert reason_to_drop(face(90, 90), FLAT, filters) == Reason.FILTERED
    assert reason_to_drop(face(9, 90), FLAT, filters) == Reason.TOO_SMALL
    with pytest.raises(ConfigError, match=r"filter\.more\.bright has no option 'moist' \(did you mean 'most'\?\)"):
        load_recipe("default", ["filter.more={bright: {moist: 1}}"], purpose="build")
    with pytest.raises(ConfigError, match=r"no filter 'brigt' \(did you mean 'bright'\?\)"):
        load_recipe("default", ["filter.more={brigt: {}}"])
