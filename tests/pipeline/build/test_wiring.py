"""Every key of a recipe acts: two values of it give two datasets, from videos with several people and forgeries."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from facemill import FacemillError
from facemill.detectors.face import Face, FaceDetector
from facemill.manifests import FailureRecord, VideoEntry, from_table
from facemill.manifests.shards import format_of
from facemill.pipeline.build import build, groups
from facemill.pipeline.config.recipe import Recipe, load_recipe
from facemill.pipeline.config.sections import BYTES_STAY, Settings
from facemill.pipeline.extract.faces import load_detector
from tests.composed.people import Scene, backdrop, cast, stand
from tests.conftest import encode_video
from tests.pipeline.decode.test_facts import FIELDS

pytestmark = pytest.mark.timeout(600)

FRAMES = 84
"""A picture on the wall is known as such after 75."""
LONE = 24
BASE = ("crop.size=96", "filter.min_face=48")
RETINAFACE = ("detect.detector=retinaface", "detect.variant=mobilenet0.25", "detect.weights={weights}")
FIXED = ("mask.threshold=0.15",)


@dataclass(frozen=True)
class Case:
    """Another value of a key, what is set on both sides so that the key can act, and what else on the other side."""

    value: str
    given: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


CASES = {
    "name": Case("another"),
    "paper": Case("A paper"),
    "seed": Case("1", ("sample.strategy=random", "sample.frames=6")),
    "decode.backend": Case("decord"),
    "decode.deinterlace": Case("true"),
    "decode.timeout_s": Case("100"),
    "sample.strategy": Case("random", ("sample.frames=6",), ("sample.frames=6",)),
    "sample.frames": Case("5"),
    "sample.every": Case("20", ("sample.strategy=stride", "sample.every=16")),
    "sample.runs": Case("3", ("sample.strategy=runs", "sample.frames=6", "sample.runs=2")),
    "detect.detector": Case("retinaface", also=("detect.variant=mobilenet0.25", "detect.weights={weights}")),
    "detect.variant": Case("mobilenet0.25", ("detect.detector=retinaface", "detect.weights={weights}")),
    "detect.options": Case("{{min_face_size: 90}}"),
    "detect.on": Case("each"),
    "detect.max_side": Case("200"),
    "detect.min_score": Case("0.9999"),
    "detect.precision": Case("float32"),
    "detect.batch": Case("5"),
    "detect.weights": Case("{perturbed}", RETINAFACE),
    "track.keep": Case("all"),
    "track.min_share": Case("0.5", ("track.keep=all",)),
    "track.min_mean_score": Case("0.9999", ("track.keep=all",)),
    "track.drop_still": Case("false", ("track.keep=all",)),
    "label.unforged": Case("keep_as_real", ("track.keep=all",)),
    "crop.size": Case("64"),
    "crop.scale": Case("1.6"),
    "crop.align": Case("similarity"),
    "crop.around": Case("mask", ("crop.around=face",)),
    "crop.steady": Case("true", ("sample.strategy=runs", "sample.frames=6", "sample.runs=2")),
    "mask.source": Case("official"),
    "mask.threshold": Case("0.5", FIXED),
    "mask.open": Case("4", FIXED),
    "mask.close": Case("0", FIXED),
    "mask.fill_holes": Case("false", FIXED),
    "filter.min_face": Case("70", ("track.keep=all",)),
    "filter.min_sharpness": Case("300"),
    "filter.exclude": Case("[two]"),
    "filter.more": Case("{{too_small: {{min_face: 100}}}}"),
    "annotate": Case("{{quality: {{}}}}"),
    "encode.format": Case("jpeg"),
    "encode.quality": Case("40", ("encode.format=jpeg",)),
    "shards.format": Case("webdataset"),
    "shards.samples_per_shard": Case("6"),
}
TEXT_ONLY = {"name", "paper"}
"""They stand in the dataset's card."""
ON_A_GPU = {"detect.precision"}
"""They act there alone, as `tests/detectors/face/test_precision.py` shows."""


def keys() -> list[str]:
    found = []
    for name, field in Recipe.model_fields.items():
        kind = field.annotation
        if name == "train":
            continue
        if isinstance(kind, type) and issubclass(kind, Settings):
            found += [f"{name}.{key}" for key in kind.model_fields]
        else:
            found.append(name)
    return found


def test_every_key_has_a_case() -> None:
    assert sorted(CASES) == sorted(keys()), "add a case for the new key, in which its value changes the dataset"


@pytest.mark.parametrize("key", keys())
def test_two_values_of_a_key_give_two_datasets(key: str, build_with: Callable[..., Any]) -> None:
    case = CASES[key]
    same = build_with((*BASE, *case.given))
    # What changes no bytes would act on nothing where faces are known.
    other = build_with((*BASE, *case.given, f"{key}={case.value}", *case.also), detect=_bytes_stay(key))
    assert len(other.content) > 1
    assert len(same.content) > 1 or key == "detect.variant"  # the weights do not fit the other network
    if key in TEXT_ONLY:
        assert other.card != same.card
    assert (other.content != same.content) == (key not in TEXT_ONLY | ON_A_GPU and not _bytes_stay(key))


def _bytes_stay(key: str) -> bool:
    section, _, name = key.partition(".")
    if not name:
        return False
    return getattr(Recipe.model_fields[section].annotation, "model_fields")[name].json_schema_extra == BYTES_STAY  # noqa: B009


@dataclass(frozen=True)
class Outcome:
    """What a build wrote: every sample with its images, and what failed."""

    content: tuple[object, ...]
    card: str


class Remembering:
    """A detector that looks at each image once: many recipes show it the same ones."""

    halvings = 0

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self._found: dict[bytes, list[Face]] = {}

    def detect(self, images: Sequence[np.ndarray]) -> list[list[Face]]:
        keys = [hashlib.sha256(np.ascontiguousarray(image)).digest() for image in images]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in self._found}
        self._found.update(zip(new, self._detector.detect([*new.values()]) if new else (), strict=True))
        return [self._found[key] for key in keys]


@pytest.fixture(scope="module")
def build_with(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """Build the videos of `film`, each set of overrides once, in this process, with the faces of the first build.

    Faces that another recipe would find otherwise are not among those: they are kept by all that they depend on.
    """
    folder = tmp_path_factory.mktemp("wiring")
    entries = film(media, folder / "videos")
    weights = media.parent / "weights" / "mobilenet0.25_Final.pth"
    perturbed = folder / "perturbed.pth"
    if weights.is_file():
        state = torch.load(weights, weights_only=True, map_location="cpu")
        torch.save({key: value + 0.2 * ("LandmarkHead" in key) for key, value in state.items()}, perturbed)
    built: dict[tuple[str, ...], Outcome] = {}
    load = cache(lambda *of: Remembering(load_detector(*of)))

    def run(overrides: Sequence[str], *, detect: bool = False) -> Outcome:
        filled = tuple(one.format(weights=weights, perturbed=perturbed) for one in overrides)
        if not any(one.startswith("sample.") for one in filled):
            filled = ("sample.frames=4", *filled)
        if any(str(weights) in one for one in filled) and not weights.is_file():
            pytest.skip(f"no weights at {weights}")
        if filled not in built:
            out = folder / f"out{len(built)}"
            paired = any(one.startswith("crop.around") for one in filled)  # a real without fakes rules masks out
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(groups, "load_detector", load)
                try:
                    build(
                        entries[:3] if paired else entries,
                        load_recipe("default", filled),
                        out,
                        executor="sequential",
                        device="cpu",
                        faces=None if detect or not built else folder / "out0",
                    )
                    built[filled] = _outcome(out)
                except FacemillError as error:
                    built[filled] = Outcome((str(error),), "")
        return built[filled]

    return run


def _outcome(out: Path) -> Outcome:
    content: list[object] = []
    for path in sorted(path for path in out.rglob("*") if path.suffix in (".parquet", ".tar") and "-0" in path.name):
        if path.parent.name not in ("train", "val", "test"):
            continue
        for sample in format_of(path).read(path):
            images = [hashlib.sha256(data).hexdigest() for data in (sample.image, sample.mask)]
            content.append((path.name, repr(astuple(sample.record)), *images))
    failures = from_table(pq.read_table(out / "failures.parquet"), FailureRecord)
    content += sorted(repr(failure) for failure in failures)
    return Outcome(tuple(content), (out / "README.md").read_text())


def film(media: Path, folder: Path) -> list[VideoEntry]:
    """A real video of several people, two fakes of it with one and two people forged, and an interlaced video.

    Seen are a large and a middle face that move, a picture on the wall, and somebody for ten frames only. Forged is an
    inner part of a face, with a hole, a gap and a speck.
    """
    people = cast(media)
    large, middle, painted, guest = people[0], people[1], people[5], people[6]
    size = (360, 640)
    paths = [
        stand(130, 150, 105, period=40),
        stand(330, 190, 80, period=37),
        stand(480, 90, 56, sway=0),
        lambda t: (580.0, 240.0, 60.0) if t < 10 else None,
    ]
    scene = Scene(
        [large, middle, painted, guest], paths, FRAMES, backdrop(media, size), size, still=frozenset({painted.name})
    )
    frames = np.stack([scene.frame(t) for t in range(FRAMES)])
    boxes = [scene.faces(t) for t in range(FRAMES)]
    forged, both, truth = frames.copy(), frames.copy(), np.zeros_like(frames)
    for t in range(20, FRAMES):
        region = _region(size, boxes[t][middle.name].bbox)
        forged[t] = _brighter(frames[t], region)
        both[t] = _brighter(forged[t], _region(size, boxes[t][large.name].bbox))
        truth[t][cv2.dilate(region, np.ones((9, 9), np.uint8)) > 0] = 255
    for name, images in {"real": frames, "one": forged, "two": both, "mask": truth}.items():
        encode_video(folder / f"{name}.mp4", images, crf="20", preset="ultrafast")
    lone = Scene([large], [stand(160, 120, 100, sway=0.5, period=9)], 2 * LONE, backdrop(media, (240, 320)), (240, 320))
    fields = [lone.frame(t) for t in range(2 * LONE)]
    for first, second in zip(fields[::2], fields[1::2], strict=True):
        first[::2] = second[::2]
    encode_video(folder / "woven.mp4", np.stack(fields[::2]), **FIELDS)
    common: dict[str, Any] = {"dataset": "wired", "quality": "native", "split": "train", "root": str(folder)}
    fake: dict[str, Any] = {"label": 1, "source_id": "real", "method": "swap"}
    return [
        VideoEntry(video_id="real", method="real", label=0, path="real.mp4", **common),
        VideoEntry(video_id="one", path="one.mp4", mask_path="mask.mp4", **fake, **common),
        VideoEntry(video_id="two", path="two.mp4", **fake, **common),
        VideoEntry(video_id="woven", method="real", label=0, path="woven.mp4", **common),
    ]


def _region(size: tuple[int, int], box: np.ndarray) -> np.ndarray:
    """An ellipse in the face, with a hole and a gap, and a speck beside it: uint8 [H, W] of 0 and 1."""
    x, y = ((box[:2] + box[2:]) / 2).round().astype(int).tolist()
    side = int(box[2] - box[0])
    region = np.zeros(size, np.uint8)
    cv2.ellipse(region, (x, y), (side // 3, side // 3), 0, 0, 360, 1, cv2.FILLED)
    cv2.circle(region, (x - side // 6, y), side // 10, 0, cv2.FILLED)
    region[y - side : y + side, x + side // 7 : x + side // 7 + 3] = 0
    region[y + side // 3 + 5 : y + side // 3 + 10, x : x + 5] = 1
    return region


def _brighter(frame: np.ndarray, region: np.ndarray) -> np.ndarray:
    return cv2.add(frame, np.full_like(frame, 70), mask=region, dst=frame.copy())
