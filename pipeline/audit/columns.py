"""The columns of crops by which an audit tries to predict the label: all that is not the face."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from facemill.manifests.checks.face_rules import sides
from facemill.manifests.checks.framing import crop_framing
from facemill.manifests.checks.sample_rows import Rows

__all__ = ["columns_of"]

pc: Any = pyarrow.compute
"""Untyped: the stubs do not support nulls."""

_NUMBERS = ("width", "height", "frames", "fps", "duration_s", "size_bytes")
_WORDS = ("codec", "profile", "rotation", "interlaced", "variable_rate", "colour_matrix", "colour_range")


def columns_of(rows: Rows, looks: NDArray[np.void], facts: pa.Table) -> dict[str, NDArray[Any]]:
    """Describe format, size, compression, blur, brightness and position of crops.

    Args:
        rows: the samples, with their videos.
        looks: `LOOK` of each, [N].
        facts: rows of facts.parquet.

    Returns:
        numbers, NaN where unknown, or words, [N] by name.
    """
    at: Any = pc.index_in(rows["video_id"], value_set=facts["video_id"].combine_chunks())

    def fact(name: str) -> Any:
        return facts[name].combine_chunks().take(at.combine_chunks())

    video = {name: _numbers(fact(name)) for name in _NUMBERS}
    box = rows.numbers("bbox").astype(np.float64)
    with np.errstate(all="ignore"):
        rate = video["size_bytes"] * 8 / video["duration_s"]
        return {
            "file type": _suffixes(rows.of_video("path")),
            "quality": _words(rows["quality"]),
            **{f"video: {name.replace('_', ' ')}": _words(fact(name)) for name in _WORDS},
            "crop: format": looks["suffix"],
            "video: width": video["width"],
            "video: height": video["height"],
            "video: frame rate": video["fps"],
            "video: length": video["frames"],
            "video: bit rate": np.log(rate),
            "video: bits per pixel": np.log(rate / video["fps"] / video["width"] / video["height"]),
            "crop: bytes": np.log(looks["bytes"]),
            "crop: sharpness": np.log(looks["sharpness"] + 1),
            "crop: brightness": looks["brightness"],
            "crop: contrast": looks["contrast"],
            "crop: saturation": looks["saturation"],
            "face: size": sides(rows).max(axis=1),
            "face: place across": box[:, ::2].mean(axis=1) / video["width"],
            "face: place down": box[:, 1::2].mean(axis=1) / video["height"],
            "face: time": rows.numbers("pts_s") / video["duration_s"],
            **crop_framing(rows),
        }


def _numbers(column: Any) -> NDArray[np.float64]:
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _words(column: Any) -> NDArray[np.str_]:
    return np.asarray(pc.fill_null(pc.cast(column, pa.string()), "unknown").to_numpy(zero_copy_only=False), np.str_)


def _suffixes(paths: Any) -> NDArray[np.str_]:
    """File name suffixes in lower case; empty for image sequences."""
    found = pc.struct_field(pc.extract_regex(paths, r"(?P<suffix>\.[A-Za-z0-9]{1,5})$"), "suffix")
    return _words(pc.fill_null(pc.utf8_lower(found), ""))
