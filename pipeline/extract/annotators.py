"""Annotators: further outputs of each sample, by name."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from facemill import ConfigError
from facemill.detectors.face import Face
from facemill.manifests.annotations import Annotation, Annotations
from facemill.options import Options, check_options
from facemill.registry import ANNOTATORS

__all__ = ["Annotated", "Annotator", "annotate", "create_annotators", "declared"]


class Annotator(ABC):
    """Says more of a sample than its record: numbers, words, short vectors, images.

    What it declares is stored under its own name and the output's, such as `quality_sharpness`. It is created in
    every process that may need it, the driver among them: a network is loaded when it is first used.

    Args:
        options: an instance of `options_type`.

    Attributes:
        outputs: what `annotate` returns, by name.
    """

    options_type: ClassVar[type[Options]] = Options
    outputs: Annotations

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def annotate(
        self, frame: NDArray[np.uint8], face: Face, crop: NDArray[np.uint8], affine: NDArray[np.float64]
    ) -> Mapping[str, Any]:
        """The value of each output; equal input gives equal values, in every process.

        A `float`, `int` or `text` may be None where it is not known.

        Args:
            frame: RGB [H, W, 3], the source frame.
            face: in pixels of the source frame.
            crop: RGB [size, size, 3].
            affine: [2, 3], from pixels of the frame to pixels of the crop.
        """


@dataclass(frozen=True, slots=True)
class Annotated:
    """What annotators say of one sample, by the name under which it is stored."""

    values: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)


def create_annotators(settings: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Annotator]:
    """The annotators of a recipe by name, created once per process.

    Args:
        settings: options by name.

    Raises:
        ConfigError: for an unknown annotator, option or value.
    """
    return _create(json.dumps(settings))


@lru_cache(maxsize=2)
def _create(settings: str) -> Mapping[str, Annotator]:
    kinds = {name: (ANNOTATORS[name], options) for name, options in json.loads(settings).items()}
    return {
        name: kind(check_options(f"annotate.{name}", kind.options_type, options))
        for name, (kind, options) in kinds.items()
    }


def declared(annotators: Mapping[str, Annotator]) -> dict[str, Annotation]:
    """What samples are annotated with, by the name under which it is stored."""
    return {f"{name}_{output}": one for name, each in annotators.items() for output, one in each.outputs.items()}


def annotate(
    annotators: Mapping[str, Annotator],
    frame: NDArray[np.uint8],
    face: Face,
    crop: NDArray[np.uint8],
    affine: NDArray[np.float64],
) -> Annotated:
    """What all annotators say of a sample; see `Annotator.annotate`.

    Raises:
        ConfigError: an annotator returns something else than it declares.
    """
    values: dict[str, Any] = {}
    images: dict[str, NDArray[np.uint8]] = {}
    for name, each in annotators.items():
        returned = each.annotate(frame, face, crop, affine)
        if returned.keys() != each.outputs.keys():
            raise ConfigError(
                f"The annotator {name} returns {', '.join(returned) or 'nothing'}, and declares "
                f"{', '.join(each.outputs)}: correct it."
            )
        for output, one in each.outputs.items():
            value, stored = returned[output], f"{name}_{output}"
            if one.kind == "image":
                images[stored] = value
            else:
                values[stored] = _plain(value)
            if not _fits(value if one.kind == "image" else values[stored], one.kind, len(crop)):
                raise ConfigError(f"The annotator {name} returns a {output} that is no finite {one.kind}: correct it.")
    return Annotated(values, images)


def _plain(value: Any) -> Any:
    """Numbers of numpy's as Python's own, vectors as tuples."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return tuple(map(float, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _fits(value: Any, kind: str, size: int) -> bool:
    match kind:
        case "image":
            shaped = isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.shape[2:] in ((), (3,))
            return shaped and min(value.shape[:2]) > 0 and max(value.shape[:2]) <= size
        case "float":
            return value is None or (isinstance(value, int | float) and isfinite(value))
        case "int":
            return value is None or (isinstance(value, int) and -(1 << 63) <= value < 1 << 63)
        case "text":
            return value is None or isinstance(value, str)
        case _:
            return isinstance(value, tuple) and kind == f"float[{len(value)}]" and all(map(isfinite, value))
