"""Scenes composed of real people who move over a background: who is where in each frame is known exactly.

`cast` cuts people out of the test media; `Scene` draws them, frame by frame, along given paths. Frames are drawn
when they are asked for, so that a sparse sampling of a long scene costs little.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np

from facemill.detectors.face import Face, create
from tests.conftest import SHARED, made_once

PHOTOS = (
    "dlib_2008_001322.jpg",
    "dlib_2009_004587.jpg",
    "astronaut.png",
    "dlib_2008_002470.jpg",
    "dlib_2007_007763.jpg",
)
CLIPS = (
    "videos/fsgan_conan.mp4",
    "videos/lp_d13.mp4",
    "videos/lp_d18.mp4",
    "videos/lp_s29.mp4",
    "pairs/ghost_real.mp4",
)
LEFT, TOP, BOTTOM = 0.4, 0.55, 1.2
"""What of a person is cut out beside, above and below the face box, in sides of the box."""
POSES, POSE_STEP = 8, 6
"""Frames that are taken of a clip, and the step between them."""


@dataclass(frozen=True, eq=False)
class Pose:
    """One picture of a person: RGB and opacity (0 to 1), with the face in pixels of the picture."""

    image: np.ndarray  # uint8 [h, w, 3]
    alpha: np.ndarray  # float32 [h, w]
    face: Face


@dataclass(frozen=True, eq=False)
class Person:
    name: str
    poses: tuple[Pose, ...]


Path2D = Callable[[int], tuple[float, float, float] | None]
"""Centre x, y and width of the face box at a frame; None while the person is away."""


def cast(media: Path) -> list[Person]:
    """Everybody who can be cut out of the media: people of clips (several poses) first, then those of photos."""
    return list(_cast(media))


@lru_cache(maxsize=1)
def _cast(media: Path) -> tuple[Person, ...]:
    return made_once("cast", lambda _: _cut_out(media)) if SHARED else _cut_out(media)


def _cut_out(media: Path) -> tuple[Person, ...]:
    detector = create("mtcnn", device="cpu", max_side=640)
    people = []
    for name in CLIPS:
        with av.open(str(media / name)) as container:
            frames = islice(container.decode(video=0), 0, POSES * POSE_STEP, POSE_STEP)
            images = [frame.to_ndarray(format="rgb24") for frame in frames]
        found = detector.detect(images)
        poses = [_pose(image, faces[0]) for image, faces in zip(images, found, strict=True) if faces]
        people.append(Person(Path(name).stem, tuple(poses)))
    for name in PHOTOS:
        image = cv2.cvtColor(cv2.imread(str(media / "images" / name)), cv2.COLOR_BGR2RGB)
        faces = sorted(detector.detect([image])[0], key=lambda face: float(face.bbox[0]))
        people += [Person(f"{Path(name).stem}:{i}", (_pose(image, face),)) for i, face in enumerate(faces)]
    return tuple(people)


def _pose(image: np.ndarray, face: Face) -> Pose:
    x1, y1, x2, y2 = face.bbox
    side = x2 - x1
    low = np.maximum(np.floor([x1 - LEFT * side, y1 - TOP * side]), 0).astype(int)
    high = np.minimum(np.ceil([x2 + LEFT * side, y2 + BOTTOM * side]), image.shape[1::-1]).astype(int)
    cut = image[low[1] : high[1], low[0] : high[0]]
    height, width = cut.shape[:2]
    # Round at the top, straight at the bottom, soft at the edge.
    u = np.abs(np.linspace(-1, 1, width))[None]
    v = np.minimum(np.linspace(-1, 2, height), 0)[:, None]
    alpha = np.clip((1 - np.sqrt(u**4 + np.abs(v) ** 3)) * 6, 0, 1).astype(np.float32)
    moved = Face(face.bbox - np.tile(low, 2).astype(np.float32), face.score, face.landmarks - low.astype(np.float32))
    return Pose(cut, alpha, moved)


@dataclass(frozen=True, eq=False)
class Scene:
    """People on their paths before a background. Those later in the list stand in front.

    Attributes:
        background: uint8 RGB, at least as large as the frame.
        pan: displacement of the background in pixels a frame.
    """

    people: Sequence[Person]
    paths: Sequence[Path2D]
    frames: int
    background: np.ndarray
    size: tuple[int, int] = (360, 640)
    pan: float = 0.0
    still: frozenset[str] = field(default_factory=frozenset)  # names of those whose pose never changes

    def frame(self, index: int, scale: float = 1.0) -> np.ndarray:
        """RGB frame [H, W, 3], shrunk by `scale`."""
        height, width = self.size
        spare = max(self.background.shape[1] - width, 0)
        left = round(self.pan * index) % (spare + 1)
        frame = self.background[:height, left : left + width].astype(np.float32)
        for person, path in zip(self.people, self.paths, strict=True):
            if (place := path(index)) is not None:
                self._draw(frame, self._pose(person, index), place)
        image = frame.round().astype(np.uint8)
        if scale != 1.0:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return image

    def faces(self, index: int) -> dict[str, Face]:
        """The faces that can be seen at a frame, by name: inside the frame, and not hidden by somebody in front."""
        seen: dict[str, Face] = {}
        hidden = np.zeros(self.size, bool)
        for person, path in reversed(list(zip(self.people, self.paths, strict=True))):
            if (place := path(index)) is None:
                continue
            pose = self._pose(person, index)
            matrix = _matrix(pose, place)
            face = _placed(pose.face, matrix)
            x1, y1, x2, y2 = face.bbox.round().astype(int)
            inside = hidden[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
            area = max((x2 - x1) * (y2 - y1), 1)
            if (inside.size - inside.sum()) / area >= 0.75:
                seen[person.name] = face
            rows, columns, opacity = _spread(pose.alpha, matrix, self.size)
            hidden[rows, columns] |= opacity > 0.5
        return {person.name: seen[person.name] for person in self.people if person.name in seen}

    def _pose(self, person: Person, index: int) -> Pose:
        # Forth and back, so that a pose never jumps.
        count = len(person.poses)
        phase = 0 if person.name in self.still else index // 3 % max(2 * count - 2, 1)
        return person.poses[phase if phase < count else 2 * count - 2 - phase]

    def _draw(self, frame: np.ndarray, pose: Pose, place: tuple[float, float, float]) -> None:
        matrix = _matrix(pose, place)
        image, alpha = pose.image, pose.alpha
        if (zoom := matrix[0, 0]) < 0.7:  # a strong shrink would alias
            image, alpha = _shrunk(pose, float(zoom))
            matrix = np.array([[1, 0, matrix[0, 2]], [0, 1, matrix[1, 2]]])
        rows, columns, opacity = _spread(alpha, matrix, self.size)
        part = frame[rows, columns]
        part += opacity[..., None] * (_spread(image, matrix, self.size)[2] - part)


@lru_cache(maxsize=512)
def _shrunk(pose: Pose, zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """A pose's image and opacity. Kept, since most people keep their size, and shrinking takes longer than the rest."""
    zooms = {"fx": zoom, "fy": zoom, "interpolation": cv2.INTER_AREA}
    return cv2.resize(pose.image, None, **zooms), cv2.resize(pose.alpha, None, **zooms)


def _spread(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> tuple[slice, slice, np.ndarray]:
    """An image moved by a matrix [2, 3], and the rows and columns of the frame that it covers."""
    height, width = image.shape[:2]
    low = np.clip(np.floor(matrix[:, 2]), 0, size[::-1]).astype(int)
    high = np.clip(np.ceil(matrix[:, :2] @ [width, height] + matrix[:, 2]), low, size[::-1]).astype(int)
    rows, columns = slice(low[1], high[1]), slice(low[0], high[0])
    if (high == low).any():
        return rows, columns, np.zeros((high[1] - low[1], high[0] - low[0], *image.shape[2:]), np.float32)
    moved = np.column_stack([matrix[:, :2], matrix[:, 2] - low])
    border = cv2.BORDER_REPLICATE if image.ndim == 3 else cv2.BORDER_CONSTANT
    return rows, columns, cv2.warpAffine(image, moved, (high - low).tolist(), borderMode=border).astype(np.float32)


def _matrix(pose: Pose, place: tuple[float, float, float]) -> np.ndarray:
    x, y, side = place
    box = pose.face.bbox
    zoom = side / float(box[2] - box[0])
    centre = (box[:2] + box[2:]) / 2
    return np.array([[zoom, 0, x - zoom * centre[0]], [0, zoom, y - zoom * centre[1]]])


def _placed(face: Face, matrix: np.ndarray) -> Face:
    zoom, shift = matrix[0, 0], matrix[:, 2]
    box = face.bbox * zoom + np.tile(shift, 2)
    return Face(box.astype(np.float32), face.score, (face.landmarks * zoom + shift).astype(np.float32))


# Paths.


def stand(x: float, y: float, side: float, sway: float = 0.1, period: float = 70.0, phase: float = 0.0) -> Path2D:
    """A person who stays, swaying by a part of the face's width."""

    def path(t: int) -> tuple[float, float, float]:
        turn = 2 * np.pi * t / period + phase
        return x + sway * side * np.sin(turn), y + 0.3 * sway * side * np.cos(1.7 * turn), side

    return path


def walk(
    start: tuple[float, float, float], end: tuple[float, float, float], first: int, last: int, *, stay: bool = False
) -> Path2D:
    """A straight way (with the steps' bounce) from frame `first` to `last`; away before and, unless `stay`, after."""

    def path(t: int) -> tuple[float, float, float] | None:
        if not stay and not first <= t <= last:
            return None
        part = np.clip((t - first) / max(last - first, 1), 0, 1)
        x, y, side = (1 - part) * np.array(start) + part * np.array(end)
        return float(x), float(y + 0.06 * side * np.sin(t * 0.9)), float(side)

    return path


def crowd(media: Path, count: int, frames: int, seed: int, size: tuple[int, int] = (360, 640)) -> Scene:
    """A continuous shot of `count` people: half of them stand, the others walk across, enter, leave or come nearer."""
    rng = np.random.default_rng(seed)
    height, width = size
    people = cast(media)
    chosen = [people[i] for i in rng.permutation(len(people))[:count]]
    paths: list[Path2D] = []
    standing = (count + 1) // 2
    for number in range(count):
        side = rng.uniform(0.075, 0.13) * width
        y = rng.uniform(0.3, 0.55) * height
        if number < standing:
            x = width * (number + 0.5 + rng.uniform(-0.15, 0.15)) / standing
            paths.append(stand(x, y, side, sway=rng.uniform(0.05, 0.3), phase=rng.uniform(0, 6)))
            continue
        leftwards = bool(rng.integers(2))
        ends = (-0.06 * width, 1.06 * width)
        begin, end = ends[leftwards], ends[not leftwards]
        first = int(rng.uniform(0, 0.4) * frames)
        match rng.integers(3):
            case 0:  # across the whole picture
                last = first + int(rng.uniform(70, 140))
                paths.append(walk((begin, y, side), (end, y, side), first, last))
            case 1:  # comes in, and stays
                goal = rng.uniform(0.2, 0.8) * width
                paths.append(walk((begin, y, side), (goal, y + 8, side * 1.2), first, first + 60, stay=True))
            case _:  # is there, comes nearer and leaves
                x = rng.uniform(0.2, 0.8) * width
                paths.append(walk((x, y, 0.8 * side), (end, y, 1.4 * side), 0, frames - int(rng.uniform(0, 40))))
    return Scene(chosen, paths, frames, backdrop(media, size, pan=80), size, pan=float(rng.uniform(0, 0.4)))


def small_faces(media: Path, seed: int, smallest: float = 28, largest: float = 75) -> np.ndarray:
    """A 1080p frame of two rows of people with faces of these widths in pixels, each apart from the others."""
    rng = np.random.default_rng(seed)
    people = cast(media)
    chosen = [people[i] for i in rng.permutation(len(people))[:24]]
    places = [stand(80 + 160 * (i % 12), 270 + 490 * (i // 12), rng.uniform(smallest, largest)) for i in range(24)]
    size = (1080, 1920)
    return Scene(chosen, places[: len(chosen)], 1, backdrop(media, size), size).frame(0)


def backdrop(media: Path, size: tuple[int, int], pan: int = 0) -> np.ndarray:
    """A picture [H, W + pan, 3] without people, out of focus."""
    image = cv2.cvtColor(cv2.imread(str(media / "images" / "dlib_dogs.jpg")), cv2.COLOR_BGR2RGB)
    image = cv2.resize(image, (size[1] + pan, size[0] * 2), interpolation=cv2.INTER_AREA)[: size[0]]
    return cv2.GaussianBlur(image, (0, 0), 2)
