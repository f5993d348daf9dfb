"""The sections of a recipe: the settings of each step of a build, and the base class of all settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from facemill.manifests.storage import sha256_of
from facemill.options import Options

__all__ = [
    *("BYTES_STAY", "CropSettings", "DecodeSettings", "DetectSettings", "EncodeSettings", "FilterSettings"),
    *("LabelSettings", "MaskSettings", "Positive", "SampleSettings", "Settings", "ShardSettings", "TrackSettings"),
]

Positive = Annotated[int, Field(gt=0, lt=1 << 31)]

BYTES_STAY: JsonDict = {"changes_bytes": False}
"""Marks, as `json_schema_extra`, a field that does not affect a dataset's bytes."""


class Settings(Options):
    """A frozen group of settings that rejects unknown keys."""

    def deciding_values(self) -> dict[str, Any]:
        """The fields that can affect a dataset's bytes, as plain values."""
        fields = type(self).model_fields
        return self.model_dump(
            mode="json", exclude={name for name, field in fields.items() if field.json_schema_extra == BYTES_STAY}
        )


class DecodeSettings(Settings):
    """How videos are read."""

    backend: Literal["auto", "pyav", "decord", "nvdec"] = "auto"
    """`auto` is PyAV, which is exact, and faster than decord in the project's benchmark. `nvdec`: FFmpeg's decoders on
    the worker's NVIDIA GPU, for H.264, HEVC, VP9 and AV1; PyAV for the rest, and where the GPU fails. Most damage
    inside a file is not noticed then."""
    deinterlace: bool = False
    """Deinterlace videos that are marked as interlaced; other files are unchanged. PyAV only."""
    timeout_s: Annotated[float, Field(gt=0, le=86_400, json_schema_extra=BYTES_STAY)] = 120.0
    """Seconds without a decoded frame after which a video is abandoned."""

    @model_validator(mode="after")
    def _decord_does_not_deinterlace(self) -> "DecodeSettings":
        if self.deinterlace and self.backend == "decord":
            raise ValueError("'deinterlace' needs another 'backend' than 'decord'")
        return self


class SampleSettings(Settings):
    """Which frames of a clip group are sampled; chosen once for the real video and all its fakes."""

    strategy: Literal["uniform", "stride", "random", "runs", "all"] = "uniform"
    """`uniform`: `frames` evenly spaced; `stride`: every `every`-th; `random`: `frames` drawn by video id; `runs`:
    `frames` in `runs` stretches of consecutive ones, evenly spaced, for clips."""
    frames: Positive | None = None
    """Frames per video, for `uniform` and `random` (default 32), and `runs` (64)."""
    runs: Positive | None = None
    """Number of stretches of equal length, for `runs` (default 4)."""
    every: Positive | None = None
    """Step, for `stride`."""

    @model_validator(mode="before")
    @classmethod
    def _default_frames(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("strategy", "uniform") in ("uniform", "random"):
            return {"frames": 32, **values}
        if isinstance(values, Mapping) and values["strategy"] == "runs":
            return {"frames": 64, "runs": 4, **values}
        return values

    @model_validator(mode="after")
    def _options_fit_the_strategy(self) -> "SampleSettings":
        taken = {"stride": ["every"], "runs": ["frames", "runs"], "all": []}.get(self.strategy, ["frames"])
        if taken != [name for name in ("every", "frames", "runs") if getattr(self, name) is not None]:
            raise ValueError(
                "'uniform' and 'random' take 'frames', 'runs' takes 'frames' and 'runs', 'stride' takes 'every', and "
                "'all' takes none"
            )
        if self.frames is not None and self.frames % (self.runs or 1):
            raise ValueError("'frames' must be a multiple of 'runs', which have equal lengths")
        return self


class DetectSettings(Settings):
    """Which face detector is used, and on which videos."""

    detector: str = "mtcnn"
    """One of `registry.FACE_DETECTORS`."""
    variant: str | None = None
    """Variant of the detector, such as the backbone of RetinaFace: `resnet50` (default) or `mobilenet0.25`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options specific to this detector: see its `options_type`."""
    on: Literal["pristine", "each"] = "pristine"
    """`pristine`: fakes reuse the faces of their original; `each`: detection runs on every video."""
    max_side: Positive | Literal["auto"] | None = "auto"
    """Frames whose longer side exceeds this are downscaled for detection; null for never. `auto`: downscale as far as
    faces of `filter.min_face` pixels can still be found."""
    min_score: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Minimum detection score of a face."""
    precision: Literal["auto", "float32"] = "auto"
    """On a GPU, `auto` is TensorFloat-32, and bfloat16 for RetinaFace. `float32` is slower, and its boxes differ from a
    CPU's by rounding only (`tests/gpu` allows 1/16 pixel). On a CPU both are float32."""
    batch: Annotated[Positive, Field(json_schema_extra=BYTES_STAY)] = 32
    """Maximum number of frames per forward pass."""
    weights: Path | None = None
    """Weights file; null for the weights that the detector's package includes or downloads."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    def weights_digest(self) -> str | None:
        """SHA-256 of the weights file, or None if there is none."""
        return sha256_of(self.weights) if self.weights is not None and self.weights.is_file() else None


class TrackSettings(Settings):
    """Which face tracks are kept."""

    keep: Literal["forged", "largest", "all"] = "forged"
    """`forged`: every face in which a fake differs from its original; if that is unknown, the largest face."""
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Least share of its shot's sampled frames in which a face is detected; rarer ones count as false detections."""
    min_mean_score: Annotated[float, Field(ge=0, le=1)] = 0.93
    """Minimum mean detection score of a track."""
    drop_still: bool = True
    """Drop faces that stay still while others move, such as paintings and posters."""


class LabelSettings(Settings):
    """How faces of a fake that do not differ from the original are labelled."""

    unforged: Literal["drop", "keep_as_real", "keep_as_fake"] = "drop"
    """`keep_as_fake` gives them the label of their video, although they show no forgery."""


class CropSettings(Settings):
    """How a face is cropped; of a dataset's images that are face crops already, only `size` applies."""

    size: Positive = 299
    """Side of the square crop, in pixels."""
    scale: Annotated[float, Field(ge=1, le=16)] = 1.3
    """Side of the square around the face box (or mask box), as a multiple of its longer side."""
    align: Literal["none", "similarity"] = "none"
    """`similarity` rotates and scales the face so that its five landmarks match a template."""
    around: Literal["face", "mask"] = "face"
    """`mask`: the square around the forged region, if all originals are sampled with their fakes; else around faces."""
    steady: bool = False
    """One crop for a track in a run of consecutive frames, around the median of its faces, so that clips do not jitter;
    for `sample.strategy: runs`. The videos are then read twice."""


class MaskSettings(Settings):
    """How the forged region is found."""

    source: Literal["difference", "official", "both"] = "difference"
    """`official` is the dataset's ground-truth mask; `both` stores it and records its IoU with the difference mask."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["auto"] = "auto"
    """`auto`: one smooth region above the noise of the pair, found at the scale of the face. A number: pixels whose
    luma difference / 255 exceeds it, as in LRL (0.15), after opening, closing and filling holes."""
    open: Annotated[int, Field(ge=0, le=256)] = 1
    """Radius of the morphological opening, in pixels; 0 for none."""
    close: Annotated[int, Field(ge=0, le=256)] = 2
    """Radius of the morphological closing, in pixels; 0 for none."""
    fill_holes: bool = True
    """Fill enclosed holes of the mask."""


class FilterSettings(Settings):
    """Which faces are dropped; each dropped face is counted with its reason."""

    min_face: Annotated[float, Field(ge=0, le=8192)] = 40.0
    """Minimum shorter side of the face box, in source pixels."""
    min_sharpness: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Minimum variance of the Laplacian of the gray crop."""
    more: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Additional filters: options by name in `registry.FILTERS`."""
    exclude: tuple[str, ...] = ()
    """Ids of videos and samples to leave out; `facemill build --exclude FILE` reads them from a file."""


class EncodeSettings(Settings):
    """How crops are stored; masks are always one-channel PNG."""

    format: Literal["png", "jpeg", "webp"] = "png"
    """Image format of the crops."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """JPEG or WebP quality."""


class ShardSettings(Settings):
    """The format and size of shards."""

    format: str = "parquet"
    """One of `registry.SHARD_FORMATS`."""
    samples_per_shard: Positive | None = None
    """Approximate number of samples of a shard; the samples of a clip group stay together.

    Left out, it is 1,024, and less in a dataset of fewer than 32 such shards, but at least 128.
    """
