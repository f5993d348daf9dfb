"""What an annotator returns is what it declares, and what its column can hold."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from facemill import ConfigError
from facemill.manifests.annotations import Annotation
from facemill.pipeline.extract.annotators.base import annotate

CROP = np.zeros((8, 8, 3), np.uint8)
LARGE = (1 << 63) - 1


def returned(kind: str, value: Any) -> Any:
    one = SimpleNamespace(outputs={"x": Annotation(kind, "x")}, annotate=lambda *_: {"x": value})
    stored = annotate({"a": one}, CROP, None, CROP, np.eye(2, 3))
    return {**stored.values, **stored.images}["a_x"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[("int", value) for value in (-LARGE - 1, LARGE, None)],
        *[("float", value) for value in (-3e38, 7, None)],
        *[("text", value) for value in ("", None)],
        ("float[2]", (0.0, -1.0)),
        ("image", np.zeros((8, 5), np.uint8)),
        ("image", np.zeros((1, 8, 3), np.uint8)),
    ],
)
def test_what_fits_comes_back(kind: str, value: Any) -> None:
    assert np.array_equal(returned(kind, value), value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *[("int", value) for value in (-LARGE - 2, LARGE + 1, 1.0)],
        *[("float", value) for value in (float("nan"), float("inf"), 4e38, "1")],
        ("text", 1),
        *[("float[2]", value) for value in ((0.0,), (0.0, float("inf")), (-4e38, 0.0), None)],
        *[("image", np.zeros(shape, np.uint8)) for shape in ((9, 8), (8, 0), (8, 8, 1), (8, 8, 4))],
        ("image", np.zeros((8, 8), np.uint16)),
    ],
)
def test_what_does_not_fit_is_told(kind: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="annotator a returns a x"):
        returned(kind, value)
