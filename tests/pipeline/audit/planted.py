"""Small datasets of originals and their fakes, in which a test plants one fault."""

import dataclasses
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from facemill.manifests.records import VideoEntry, VideoFacts
from facemill.manifests.shards import EncodedSample
from tests.manifests.small_dataset import Parts, make_sample, png, square_mask

SIDE = 64
FRAMES = (0, 10, 20)
SPLITS = ["train"] * 14 + ["val"] * 5 + ["test"] * 5
METHODS = ("one", "two")
Encode = Callable[[np.ndarray], bytes]


def name_of(method: str, number: int) -> str:
    return f"toy-{method}-{number:03d}"


@cache
def face(seed: int, frame: int) -> np.ndarray:
    """Crop [64, 64, 3] of a smooth random scene of its own, which moves a little."""
    random = np.random.default_rng([seed, 5])
    level, spread = random.uniform(90, 160), random.uniform(25, 45)
    coarse = random.normal(level, spread, (7, 7, 3)).clip(0, 255).astype(np.uint8)
    wide = cv2.resize(coarse, (SIDE + 16, SIDE + 16), interpolation=cv2.INTER_CUBIC)
    shift = 4 * FRAMES.index(frame)
    noise = np.random.default_rng([seed, frame]).normal(0, random.uniform(1, 3), (SIDE, SIDE, 3))
    return np.clip(wide[shift : shift + SIDE, shift : shift + SIDE] + noise, 0, 255).astype(np.uint8)


@cache
def forged(seed: int, frame: int, method: str) -> np.ndarray:
    """`face` with a forged middle that is as bright, sharp and colourful as it was: mirrored, with a soft edge."""
    image, inside = face(seed, frame), slice(SIDE // 4, -SIDE // 4)
    opacity = np.zeros((SIDE, SIDE, 1))
    opacity[inside, inside] = 1
    mirrored = image[::-1] if method == "one" else image[:, ::-1]
    opacity = cv2.GaussianBlur(opacity, (0, 0), 4)[..., None]
    return np.rint(image * (1 - opacity) + mirrored * opacity).astype(np.uint8)


class Corpus:
    """A dataset without faults: 24 originals with two fakes each; change what you like, then `write`.

    Attributes:
        images: pixels by video and frame; `encode` makes bytes of them, by video.
        records: changes of samples, by video; `facts`: changes of facts; `lacking`:
            frames without a sample.
    """

    def __init__(self, first: int = 0, dataset: str = "toy") -> None:
        self.videos: dict[str, VideoEntry] = {}
        self.images: dict[tuple[str, int], np.ndarray] = {}
        self.encode: dict[str, Encode] = {}
        self.records: dict[str, dict] = {}
        self.facts: dict[str, dict] = {}
        self.lacking: dict[str, tuple[int, ...]] = {}
        for number, split in enumerate(SPLITS, first):
            real = name_of("real", number)
            common = {"dataset": dataset, "quality": "native", "split": split, "root": "/data"}
            self.videos[real] = VideoEntry(real, method="real", label=0, path=f"{real}.mp4",
                                           subject_ids=(f"{dataset}-{number}",), **common)  # fmt: skip
            for method in METHODS:
                fake = name_of(method, number)
                self.videos[fake] = VideoEntry(fake, method=method, label=1, path=f"{fake}.mp4", source_id=real,
                                               subject_ids=(f"{dataset}-{number}",), **common)  # fmt: skip
            for frame in FRAMES:
                self.images[real, frame] = face(number, frame)
                for method in METHODS:
                    self.images[name_of(method, number), frame] = forged(number, frame, method)

    def fakes(self, method: str | None = None) -> list[str]:
        return [name for name, video in self.videos.items() if video.label and method in (None, video.method)]

    def of(self, split: str, method: str = "real") -> list[str]:
        return [name for name, video in self.videos.items() if (video.split, video.method) == (split, method)]

    def change(self, names: list[str], how: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change the pixels of videos."""
        for name in names:
            for frame in FRAMES:
                self.images[name, frame] = np.clip(how(self.images[name, frame].astype(float)), 0, 255).astype(np.uint8)

    def change_facts(self, fields: dict) -> None:
        """Change the facts of all fakes."""
        for name in self.fakes():
            self.facts[name] = self.facts.get(name, {}) | fields

    def edit(self, name: str, **fields: object) -> None:
        self.videos[name] = dataclasses.replace(self.videos[name], **fields)

    def write(self, root: Path) -> Path:
        samples = [
            self._sample(video, frame)
            for video in self.videos.values()
            for frame in FRAMES
            if frame not in self.lacking.get(video.video_id, ())
        ]
        order = {"train": 0, "val": 1, "test": 2}
        samples.sort(key=lambda sample: order[sample.record.split])
        parts = Parts([*self.videos.values()], samples, [], [], [self._facts(video) for video in self.videos.values()])
        return parts.write(root)

    def _sample(self, video: VideoEntry, frame: int) -> EncodedSample:
        image = self.encode.get(video.video_id, png)(self.images[video.video_id, frame])
        random = np.random.default_rng([*(video.source_id or video.video_id).encode(), frame])
        side = random.uniform(80, 160)
        x, y, zoom = random.uniform(0, 640 - side), random.uniform(0, 360 - side), SIDE / side / 1.3
        own = {
            "bbox": (x, y, x + side, y + side),
            "landmarks": tuple(np.repeat([x + side / 2, y + side / 2], 5).tolist()),
            "affine": (zoom, 0.0, SIDE / 2 - zoom * (x + side / 2), 0.0, zoom, SIDE / 2 - zoom * (y + side / 2)),
            "crop_size": SIDE,
            "image_sha256": hashlib.sha256(image).hexdigest(),
        }
        record = dataclasses.replace(make_sample(video, frame).record, **own | self.records.get(video.video_id, {}))
        return EncodedSample(record, image, png(square_mask(SIDE) * np.uint8(video.label)))

    def _facts(self, video: VideoEntry) -> VideoFacts:
        random = np.random.default_rng([*video.video_id.encode()])
        facts = VideoFacts(
            video.video_id, 640, 360, 100, 25.0, False, "h264", 0, 1.0, False, 2, 0, (), None, None, 640, 360, 2, 2,
            "High", 4.0, 0.04, int(random.uniform(2e5, 4e5)), None,
        )  # fmt: skip
        return dataclasses.replace(facts, **self.facts.get(video.video_id, {}))
