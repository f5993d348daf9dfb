"""What an annotator is, and how those of a recipe are applied."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facemill import ConfigError
from facemill.detectors.face import Face
from facemill.manifests.annotations import Annotation, Annotations
from facemill.options import Configurable, create_all
from facemill.registry import ANNOTATORS

__all__ = ["Annotated", "Annotator", "annotate", "create_annotators", "declared"]

LARGEST = float(np.finfo(np.float32).max)
"""Numbers are stored with 32 bits."""


class Annotator(Configurable, ABC):
    """Adds outputs to a sample: numbers, text, short vectors, images.

    Outputs are stored under the annotator's name and their own, such as `quality_sharpness`. An annotator is created
    in every process that may need it, including the driver, so load networks on first use only.

    Attributes:
        outputs: declares the outputs of `annotate`, by name.
    """

    outputs: Annotations

    @abstractmethod
    def annotate(
        self, frame: NDArray[np.uint8], face: Face, crop: NDArray[np.uint8], affine: NDArray[np.float64]
    ) -> Mapping[str, Any]:
        """Compute the value of each output; equal input must give equal values in every process.

        A `float`, `int` or `text` may be None if it is unknown.

        Args:
            frame: RGB [H, W, 3], the source frame.
            face: in pixels of the source frame.
            crop: RGB [size, size, 3].
            affine: [2, 3], from pixels of the frame to pixels of the crop.
        """


@dataclass(frozen=True, slots=True)
class Annotated:
    """All annotators' outputs for one sample, by the name under which they are stored."""

    values: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def create_annotators(settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Annotator]:
    """Create the annotators of a recipe, by name, once per process.

    Args:
        settings: options by name.

    Raises:
        ConfigError: for an unknown annotator, option or value.
    """
    return _create(json.dumps(settings))


@lru_cache(maxsize=2)
def _create(settings: str) -> Mapping[str, Annotator]:
    return create_all(ANNOTATORS, json.loads(settings), prefix="annotate.")


def declared(annotators: Mapping[str, Annotator]) -> dict[str, Annotation]:
    """All outputs that the annotators declare, by the name under which they are stored."""
    return {f"{name}_{output}": one for name, each in annotators.items() for output, one in each.outputs.items()}


def annotate(
    annotators: Mapping[str, Annotator],
    frame: NDArray[np.uint8],
    face: Face,
    crop: NDArray[np.uint8],
    affine: NDArray[np.float64],
) -> Annotated:
    """Apply all annotators to a sample; see `Annotator.annotate`.

    Raises:
        ConfigError: an annotator's output differs from its declaration.
    """
    values: dict[str, Any] = {}
    images: dict[str, NDArray[np.uint8]] = {}
    for name, each in annotators.items():
        returned = each.annotate(frame, face, crop, affine)
        if returned.keys() != each.outputs.keys():
            raise ConfigError(
                f"The annotator {name} returns {', '.join(returned) or 'nothing'}, but declares "
                f"{', '.join(each.outputs)}: correct it."
            )
        for output, one in each.outputs.items():
            value, stored = returned[output], f"{name}_{output}"
            if one.kind == "image":
                images[stored] = value
            else:
                values[stored] = _plain(value)
            if not _fits(value if one.kind == "image" else values[stored], one.kind, len(crop)):
                raise ConfigError(
                    f"The annotator {name} returns a {output} that is not a finite {one.kind}: correct it."
                )
    return Annotated(values, images)


def _plain(value: Any) -> Any:
    """Convert NumPy numbers to Python numbers, and vectors to tuples."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(float, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _fits(value: Any, kind: str, size: int) -> bool:
    match kind:
        case "image":
            shaped = isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.shape[2:] in ((), (3,))
            return shaped and min(value.shape[:2]) > 0 and max(value.shape[:2]) <= size
        case "float":
            return value is None or (isinstance(value, int | float) and abs(value) <= LARGEST)
        case "int":
            return value is None or (isinstance(value, int) and -(1 << 63) <= value < 1 << 63)
        case "text":
            return value is None or isinstance(value, str)
        case _:
            return (
                isinstance(value, tuple)
                and kind == f"float[{len(value)}]"
                and all(abs(one) <= LARGEST for one in value)
            )
