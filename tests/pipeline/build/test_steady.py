"""Steady crops: one affine for a track in a run of consecutive frames."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from facemill import ConfigError
from facemill.detectors.face import Face
from facemill.manifests.checks.verify import verify
from facemill.pipeline.build.job import build
from facemill.pipeline.clips import clip as clip_module
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.data import FaceDataset
from facemill.pipeline.score.job import reading_recipe
from tests.pipeline.build.test_shard import AddVideo
from tests.pipeline.conftest import Actor, MarkDetector, film

FRAMES, RUN = 24, 5
ACTORS = [Actor(20, 60, side=100, dx=1), Actor(210, 50, side=70, dy=1)]
RUNS = ("crop.size=96", "sample.strategy=runs", "sample.frames=15", "sample.runs=3", "track.keep=all")
STEADY = (*RUNS, "crop.steady=true")


class Jittering(MarkDetector):
    """Finds each face up to three pixels beside its place."""

    def detect(self, frames: Sequence[np.ndarray]) -> list[list[Face]]:
        rng = np.random.default_rng(int(sum(int(frame[::16, ::16].sum()) for frame in frames)))
        found = super().detect(frames)
        return [[self._moved(face, rng) for face in faces] for faces in found]

    def _moved(self, face: Face, rng: np.random.Generator) -> Face:
        by = rng.uniform(-3, 3, 2).astype(np.float32)
        return Face(face.bbox + np.tile(by, 2), face.score, face.landmarks + by)


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facemill.pipeline.build.groups.load_detector", lambda *_: Jittering())


def built(add_video: AddVideo, out: Path, sets: Sequence[str]) -> dict[tuple[str, int, int], list[dict[str, Any]]]:
    """Rows by video, track and run, of a real of two people, a fake of it, and one of half its size; all verified."""
    real, fake = (film(ACTORS, FRAMES, forged=forged, seed=1) for forged in (None, 0))
    small = np.stack([cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for frame in fake])
    entries = [add_video("real", real)]
    entries += [add_video(name, frames, 1, source_id="real") for name, frames in (("fake", fake), ("small", small))]
    build(entries, load_recipe("default", sets), out, executor="sequential")
    assert verify(out).problems == ()
    rows = defaultdict(list)
    for row in pq.read_table(out / "samples.parquet").to_pylist():
        rows[row["video_id"], row["track_id"], row["frame_index"] * 3 // FRAMES].append(row)
    return dict(rows)


@pytest.mark.parametrize(
    ("setting", "window"),
    [
        ("crop.align=none", 4),
        ("crop.align=similarity", 64),
        ("crop.around=mask", 64),
        ("detect.on=each", 64),
    ],
    ids=["boxes, and windows that end in a run", "landmarks", "masks", "detections of their own"],
)
def test_crops_of_a_run_have_one_affine(
    add_video: AddVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, window: int
) -> None:
    monkeypatch.setattr(clip_module, "LONGEST_WINDOW", window)
    rows = built(add_video, tmp_path / "out", [*STEADY, setting])
    assert {len(run) for run in rows.values()} == {RUN}
    assert {video for video, *_ in rows} == {"real", "fake", "small"}
    affines = {key: {tuple(row["affine"]) for row in run} for key, run in rows.items()}
    assert all(len(found) == 1 for found in affines.values())
    assert len({(key[0], *found) for key, found in affines.items()}) == len(rows)  # each run and track has its own
    for (video, track, run), found in affines.items():
        [(a, b, x, c, d, y)], reals = found, rows["real", track, run]
        boxes = np.array([row["bbox"] for row in reals], np.float64)
        assert len({tuple(box) for box in boxes.tolist()}) == RUN  # detections jitter
        if setting in ("crop.align=none", "detect.on=each"):
            x1, y1, x2, y2 = np.median(boxes, axis=0) / (2 if video == "small" else 1)
            side = 1.3 * max(x2 - x1, y2 - y1)
            np.testing.assert_allclose((a, b, c, d), (96 / side, 0, 0, 96 / side), rtol=1e-5)
            np.testing.assert_allclose((x, y), [48 - 96 / side * (p + q) / 2 for p, q in ((x1, x2), (y1, y2))], 1e-4)


def test_the_affine_maps_the_source_to_the_crop_and_clips_stand_still(add_video: AddVideo, tmp_path: Path) -> None:
    """Pixels of the crop, each looked up in the frame at the point that the affine maps to it."""
    rows = built(add_video, tmp_path / "out", STEADY)
    faces = FaceDataset(tmp_path / "out", "train")
    places = {name: place for place, name in enumerate(faces.samples["sample_id"].to_pylist())}
    frames = film(ACTORS, FRAMES, seed=1)
    for (video, *_), run in rows.items():
        for row in run if video == "real" else ():
            crop = faces[places[row["sample_id"]]]["image"].permute(1, 2, 0).numpy().astype(float)
            a, b, x, c, d, y = row["affine"]
            points = np.stack(np.meshgrid(np.arange(96) + 0.5, np.arange(96) + 0.5), -1)
            source = ((points - [x, y]) @ np.linalg.inv([[a, b], [c, d]]).T - 0.5).astype(np.float32)
            frame = cv2.GaussianBlur(frames[row["frame_index"]], (0, 0), 0.4 / a)
            expected = cv2.remap(frame, source[..., 0], source[..., 1], cv2.INTER_LINEAR).astype(float)
            assert abs(crop - expected).mean() < 6
            assert abs(crop[:, 2:] - expected[:, :-2]).mean() > 8  # two pixels beside it
    steady = FaceDataset(tmp_path / "out", "train", fields=(), clip=RUN)
    assert (len(steady), steady.unused) == (12, 0)
    for sample, row in zip((steady[n] for n in range(len(steady))), steady.samples.to_pylist(), strict=True):
        if row["track_id"] == 1 and row["video_id"] == "real":  # it moves down by a pixel a frame, and so in the crop
            first, last = (sample["image"][n, 0].float().numpy() for n in (0, -1))
            shift, _ = cv2.phaseCorrelate(first, last, cv2.createHanningWindow((96, 96), cv2.CV_32F))
            assert shift[1] == pytest.approx((RUN - 1) * row["affine"][0], abs=1)
            assert shift[0] == pytest.approx(0, abs=1)


def test_other_sampling_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"one crop for each run of frames, so it needs 'sample\.strategy: runs'"):
        load_recipe("default", ["crop.steady=true"])


def test_a_file_that_is_sampled_otherwise_is_not_cropped_steadily(tmp_path: Path) -> None:
    recipe = load_recipe("default", STEADY)
    config: Any = type("Config", (), {"recipe": recipe.build_values(), "crop": recipe.crop.model_dump()})
    same, notes = reading_recipe(tmp_path, config)
    assert (same.crop.steady, notes) == (True, [])
    spaced, [note] = reading_recipe(tmp_path, config, frames=8)
    assert not spaced.crop.steady
    assert "steady False instead of True" in note


def test_verification_allows_a_face_that_moves_beyond_the_crop(add_video: AddVideo, tmp_path: Path) -> None:
    rows = built(add_video, tmp_path / "out", [*STEADY, "crop.scale=1"])
    lefts = [row["bbox"][0] * row["affine"][0] + row["affine"][2] for run in rows.values() for row in run]
    assert min(lefts) < -1


def test_verification_finds_a_crop_that_moves(add_video: AddVideo, tmp_path: Path) -> None:
    built(add_video, tmp_path / "out", RUNS)
    info = tmp_path / "out" / "dataset.json"
    info.write_text(info.read_text().replace('"steady": false', '"steady": true'))
    found = [problem.message for problem in verify(tmp_path / "out").problems]
    assert sum("differs from that of its track's frame before" in message for message in found) > 0
