"""A stage with actors whose faces can be found from the pixels alone, so that no test needs a network.

And a finished training run, for what comes after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from facemill.detectors.face import Face
from facemill.manifests import VideoEntry
from facemill.pipeline.build.job import Watcher
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.train import TrainResult, train
from tests.conftest import encode_video, made_once
from tests.pipeline.trained import SMALL, build_toy

SIZE = (240, 320)  # height, width
PICTURE = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
MARKS = ((255, 0, 0), (0, 0, 255))
"""Colour of the frame drawn around the first and the second actor's face."""


@dataclass
class Actor:
    """A face of `side` pixels that starts at (x, y) and moves by (dx, dy) a frame."""

    x: float
    y: float
    side: int = 80
    dx: float = 0.0
    dy: float = 0.0

    def corner(self, t: int) -> tuple[int, int]:
        return round(self.x + self.dx * t), round(self.y + self.dy * t)


class Told(Watcher):
    """Keeps the warnings of a build."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def warn(self, line: str) -> None:
        self.lines.append(line)


def film(
    actors: Sequence[Actor], frames: int, *, forged: int | None = None, start: int = 0, seed: int = 0
) -> np.ndarray:
    """Frames [N, H, W, 3]: a panning background and the actors; `forged` is the one whose inner face is altered."""
    rng = np.random.default_rng(seed)
    wide = cv2.resize(
        rng.integers(60, 190, (24, 60, 3), np.uint8), (SIZE[1] * 2, SIZE[0]), interpolation=cv2.INTER_CUBIC
    )
    skins = [
        cv2.resize(rng.integers(90, 170, (6, 6, 3), np.uint8), (actor.side, actor.side), interpolation=cv2.INTER_CUBIC)
        for actor in actors
    ]
    result = []
    for t in range(start, start + frames):
        pan = 3 * t % SIZE[1]
        frame = wide[:, pan : pan + SIZE[1]].copy()
        for number, (actor, skin) in enumerate(zip(actors, skins, strict=True)):
            x, y = actor.corner(t)
            face = skin.copy()
            if number == forged:
                inner = slice(actor.side // 4, -actor.side // 4)
                face[inner, inner] = np.clip(face[inner, inner].astype(int) + 75, 0, 255)
            cv2.rectangle(face, (2, 2), (actor.side - 3, actor.side - 3), MARKS[number], 4)
            frame[y : y + actor.side, x : x + actor.side] = face
        result.append(frame)
    return np.stack(result)


def inner_box(actor: Actor, t: int) -> tuple[int, int, int, int]:
    """The forged part of an actor's face, xyxy."""
    x, y = actor.corner(t)
    quarter = actor.side // 4
    return x + quarter, y + quarter, x + actor.side - quarter, y + actor.side - quarter


class MarkDetector:
    """Finds the coloured frames around the actors' faces; counts the frames that it was shown."""

    def __init__(self) -> None:
        self.frames_seen = 0
        self.halvings = 0

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        self.frames_seen += len(frames)
        return [self._faces(frame) for frame in frames]

    def _faces(self, frame: np.ndarray) -> list[Face]:
        faces = []
        for mark in MARKS:
            near = cv2.inRange(frame, np.subtract(mark, 89), np.add(mark, 89))
            count, _, stats, _ = cv2.connectedComponentsWithStats(near)
            if count > 1:
                x, y, width, height, area = stats[1:][stats[1:, cv2.CC_STAT_AREA].argmax()]
                if area > 100:
                    box = np.array([x, y, x + width, y + height], np.float32)
                    points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
                    faces.append(Face(box, 0.99, points * [width, height] + [x, y]))
        return faces


@pytest.fixture
def mark_detector(monkeypatch: pytest.MonkeyPatch) -> MarkDetector:
    """The detector that shards built in this process will use."""
    detector = MarkDetector()
    monkeypatch.setattr("facemill.pipeline.build.groups.load_detector", lambda *_: detector)
    return detector


@pytest.fixture
def add_video(tmp_path: Path) -> Callable[..., VideoEntry]:
    """`add_video(name, frames, label=…, **fields)` encodes a video and returns its manifest entry."""

    def add(name: str, frames: np.ndarray | bytes, label: int = 0, **fields: object) -> VideoEntry:
        path = tmp_path / "data" / f"{name}.mp4"
        if isinstance(frames, bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(frames)
        else:
            encode_video(path, frames)
        return VideoEntry(
            **{
                "video_id": name,
                "dataset": "stage",
                "method": "swap" if label else "real",
                "label": label,
                "quality": "native",
                "split": "train",
                "root": str(tmp_path / "data"),
                "path": path.name,
                **fields,
            }
        )

    return add


@pytest.fixture(autouse=True)
def _unrendered_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are drawn, which fails where they cannot be, but all have the same pixels: rendering takes a third of an
    evaluation. `figures` tests what is rendered.
    """

    monkeypatch.setattr("facemill.pipeline.figures.plots._png", lambda axes, title: PICTURE)


@pytest.fixture(scope="session")
def toy() -> Path:
    """A small built dataset."""
    return made_once("toy", lambda folder: build_toy(folder / "data"))


@pytest.fixture(scope="session")
def finished(toy: Path) -> TrainResult:
    """A finished run on it; copy its folder before you change anything."""

    def run(folder: Path) -> TrainResult:
        return train("mat", [toy], folder / "run", load_recipe("default", SMALL), progress=False)

    return made_once("finished", run)
