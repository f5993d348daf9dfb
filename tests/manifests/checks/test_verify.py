"""A sound dataset has no problem; each kind of damage is named, and nothing else."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from facemill.manifests.checks.face_rules import aligned_affines, square_affines
from facemill.manifests.checks.verify import Problem, verify
from facemill.manifests.codes import MaskKind, Reason, Stage
from facemill.manifests.records import REFERENCE, FailureRecord
from facemill.manifests.shards.card import dataset_card
from facemill.manifests.shards.croissant import croissant_metadata
from facemill.manifests.shards.dataset import (
    CARD_FILE,
    CROISSANT_FILE,
    DATASET_FILE,
    FACES_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    VIDEOS_FILE,
    read_dataset,
)
from facemill.pipeline.config.sections import CropSettings
from facemill.pipeline.extract.crop import align_affine, square_affine
from facemill.registry import SHARD_FORMATS
from tests.manifests.small_dataset import SIZE, Parts, png, square_mask

REAL, FAKE, OTHER, FACELESS = (
    "ffpp-real-c23-000", "ffpp-deepfakes-c23-000_003", "ffpp-real-c23-001", "ffpp-real-c23-002"
)  # fmt: skip
TRAIN, VAL = "train/train-000000.parquet", "val/val-000000.parquet"
FIRST, FIRST_FAKE = f"{REAL}-f000000-t0", f"{FAKE}-f000000-t0"


def problems(root: Path) -> list[str]:
    return [str(problem) for problem in verify(root, threads=2).problems]


@pytest.fixture
def built(tmp_path) -> Path:
    return Parts().write(tmp_path / "built")


@pytest.mark.parametrize("format_name", sorted(SHARD_FORMATS))
@pytest.mark.parametrize("threads", [None, 1, 3])
def test_a_sound_dataset(tmp_path, format_name, threads):
    report = verify(Parts().write(tmp_path, format_name), threads=threads)
    assert report.problems == ()
    assert report.ok
    assert (report.shards, report.samples, report.videos) == (2, 9, 4)


def test_progress_is_told_by_samples_of_all(built):
    told: list[tuple[int, int]] = []
    report = verify(built, on_samples=lambda done, total: told.append((done, total)))
    assert sum(done for done, _ in told) == report.samples > 0
    assert {total for _, total in told} == {report.samples}
    assert len(told) == report.shards


def test_crops_of_sequences_of_pictures_are_sound(tmp_path):
    """They are whole pictures, in which no detector looked and which have no clock."""
    parts = Parts()
    whole = {"bbox": (0.0, 0.0, 128.0, 128.0), "landmarks": (0.0,) * 10, "score": 0.0, "pts_s": 0.0}
    for position in (6, 7, 8):
        parts.change(position, **whole, affine=(0.5, 0.0, 0.0, 0.0, 0.5, 0.0))
    del parts.faces[3:]
    report = verify(parts.write(tmp_path), threads=1)
    assert (report.problems, report.warnings) == ((), ())


class TestShards:
    def test_flipped_byte_in_a_picture(self, built):
        path = built / TRAIN
        content = bytearray(path.read_bytes())
        position = content.find(Parts().samples[4].image) + 5000
        content[position] ^= 0x10
        path.write_bytes(content)
        found = problems(built)
        assert found[0] == f"{TRAIN}: its sha256 differs from dataset.json: bytes have changed."
        sample = Parts().samples[4].record.sample_id
        assert found[1] == f"{TRAIN}, row 4 ({sample}): the image's sha256 differs from the recorded one."
        assert all(problem.startswith(f"{TRAIN}, row 4 ({sample}): the image") for problem in found[1:])

    @pytest.mark.parametrize("format_name", sorted(SHARD_FORMATS))
    def test_flipped_bytes_anywhere(self, tmp_path, format_name):
        """Nothing is raised, and every flip is seen."""
        root = Parts().write(tmp_path, format_name)
        path = next((root / "val").iterdir())
        whole = path.read_bytes()
        rng = np.random.default_rng(1)
        for position in rng.integers(0, len(whole), 12):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << rng.integers(8)
            path.write_bytes(damaged)
            found = verify(root, threads=1).problems
            assert found[0].file == path.relative_to(root).as_posix()
            assert found[0].message.startswith("its sha256")

    def test_missing(self, built):
        (built / VAL).unlink()
        assert problems(built) == [f"{VAL}: the shard is missing."]

    def test_unlisted(self, built):
        (built / VAL).rename(built / "val/val-000001.parquet")
        assert problems(built) == [
            "val/val-000001.parquet: dataset.json does not list this shard.",
            f"{VAL}: the shard is missing.",
        ]

    def test_cut_off(self, built):
        path = built / TRAIN
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[: size // 2])
        first, second = problems(built)
        assert first == f"{TRAIN}: its size is {size // 2} bytes, not {size} as in dataset.json."
        assert second.startswith(f"{TRAIN}, row 0: train-000000.parquet cannot be read as Parquet")

    def test_of_an_unknown_format(self, built):
        edit(built, lambda info: info["shards"][1].update(path="val/val-000000.zip"))
        (built / VAL).rename(built / "val/val-000000.zip")
        found = problems(built)
        assert "val/val-000000.zip: the recipe writes parquet shards, which end in .parquet." in found
        assert (
            "val/val-000000.zip, row 0: val/val-000000.zip is not a shard: the known suffixes are .parquet, .tar."
            in found
        )

    @pytest.mark.parametrize("rows", [2, 4])
    def test_row_count(self, built, rows):
        edit(built, lambda info: info["shards"][1].update(rows=rows))
        assert f"{VAL}: it has 3 samples, not {rows} as in dataset.json." in problems(built)

    def test_in_the_wrong_split(self, built):
        edit(built, lambda info: info["shards"][1].update(split="test"))
        assert "dataset.json: a shard of split test is called 'val/val-000000.parquet'" in problems(built)[0]
        assert (
            f"{VAL}, row 0 (ffpp-real-c23-001-f000000-t0): a sample of the val split is in a shard of the test split."
            in problems(built)
        )

    def test_columns(self, built):
        table = pq.read_table(built / VAL)
        pq.write_table(table.drop_columns("score"), built / VAL)
        edit(built, lambda info: info["shards"][1].update(described(built / VAL)))
        assert problems(built)[0] == f"{VAL}, row 0: val-000000.parquet lacks the columns score: build it again."


class TestSamplesTable:
    def rewrite(self, root: Path, change: Callable[[list[dict]], object]) -> None:
        table = pq.read_table(root / SAMPLES_FILE)
        rows = table.to_pylist()
        change(rows)
        pq.write_table(table.from_pylist(rows, table.schema), root / SAMPLES_FILE)

    def test_missing_row(self, built):
        self.rewrite(built, lambda rows: rows.pop(4))
        assert problems(built) == [
            "dataset.json: its counts by split and method differ from samples.parquet.",
            f"samples.parquet ({FAKE}-f000012-t0): row 4 of {TRAIN} is not listed.",
            f"samples.parquet: video {FAKE} has samples of 2 frames, and failures of 0, but 3 are sampled.",
        ]

    def test_extra_row(self, built):
        extra = {"sample_id": f"{REAL}-f000099-t0", "row": 6}
        self.rewrite(built, lambda rows: rows.insert(6, {**rows[0], **extra}))
        assert f"samples.parquet ({REAL}-f000099-t0): row 6 of {TRAIN} is listed but missing." in problems(built)

    def test_row_listed_twice(self, built):
        self.rewrite(built, lambda rows: rows.insert(0, rows[0]))
        assert problems(built) == [
            "dataset.json: its counts by split and method differ from samples.parquet.",
            f"{TRAIN}, row 0 ({FIRST}): this sample_id is used 2 times.",
        ]

    def test_changed_value(self, built):
        self.rewrite(built, lambda rows: rows[2].update(pts_s=0.97))
        assert problems(built) == [f"samples.parquet ({REAL}-f000024-t0): pts_s is 0.97, but 0.96 in row 2 of {TRAIN}."]

    def test_rows_of_a_shard_that_is_not_there(self, built):
        self.rewrite(built, lambda rows: rows[8].update(shard="val/val-000009.parquet"))
        assert problems(built) == [
            "samples.parquet: 1 rows refer to val/val-000009.parquet, which is not in dataset.json.",
            f"samples.parquet ({OTHER}-f000024-t0): row 2 of {VAL} is not listed.",
        ]


class TestTables:
    @pytest.mark.parametrize("name", [VIDEOS_FILE, SAMPLES_FILE, FACES_FILE, FAILURES_FILE])
    @pytest.mark.parametrize("damage", ["missing", "garbage", "half", "column"])
    def test_damaged_tables(self, built, name, damage):
        path = built / name
        if damage == "missing":
            path.unlink()
        elif damage == "garbage":
            path.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
        elif damage == "half":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        else:
            pq.write_table(pq.read_table(path).drop_columns("video_id"), path)
        [problem] = problems(built)
        assert problem.startswith(f"{name}: it cannot be read: ")

    @pytest.mark.parametrize("name", [VIDEOS_FILE, SAMPLES_FILE, FACES_FILE, FAILURES_FILE])
    def test_flipped_bytes_in_tables(self, tmp_path, name):
        """Nothing is raised; where the rows are no longer what they were, and the state knows them, it is seen."""
        root = Parts().write(tmp_path, state=True)
        whole, rows = (root / name).read_bytes(), pq.read_table(root / name).to_pylist()
        rng = np.random.default_rng(2)
        changed = found = 0
        for position in rng.integers(0, len(whole), 15):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << rng.integers(8)
            (root / name).write_bytes(damaged)
            try:
                same = pq.read_table(root / name).to_pylist() == rows
            except (pa.ArrowException, OSError, ValueError):
                same = False
            changed += not same
            found += not same and any(problem.file == name for problem in verify(root, threads=1).problems)
        assert changed >= 5
        # Nothing else says where a video lies.
        assert found == changed or (name == VIDEOS_FILE and found >= 0.9 * changed)

    def test_dataset_json(self, built):
        (built / DATASET_FILE).unlink()
        [problem] = problems(built)
        assert problem.startswith("dataset.json: ")
        assert "has no dataset.json" in problem

    def test_recipe_without_crop(self, built):
        edit(built, lambda info: info["recipe"].pop("crop"))
        assert problems(built) == ["dataset.json: its recipe is not complete (crop: Field required)."]

    def test_failure_count(self, built):
        edit(built, lambda info: info.update(failures=7))
        assert "dataset.json: it counts 7 failures, but failures.parquet has 1." in problems(built)

    def test_datasets_of_version_1_are_sound(self, built):
        """They have neither of the columns of version 2, in no file."""
        for name in (SAMPLES_FILE, TRAIN, VAL):
            table = pq.read_table(built / name).drop_columns(["label_source", "difference"])
            pq.write_table(table, built / name)
        sealed = [described(built / name) for name in (TRAIN, VAL)]
        edit(built, lambda info: [shard.update(new) for shard, new in zip(info["shards"], sealed, strict=True)])
        edit(built, lambda info: info.update(format_version=1))
        info = read_dataset(built)
        (built / CROISSANT_FILE).write_text(croissant_metadata(info, built))
        (built / CARD_FILE).write_text(dataset_card(info))
        assert problems(built) == []


class TestVideos:
    def test_subject_in_two_splits_is_allowed(self, tmp_path):
        parts = Parts()
        parts.videos[3] = dataclasses.replace(parts.videos[3], subject_ids=("ffpp-001",))
        assert problems(parts.write(tmp_path)) == []

    def test_video_in_two_splits(self, tmp_path):
        parts = Parts()
        parts.change(8, split="test")
        assert problems(parts.write(tmp_path)) == [
            f"samples.parquet: video {OTHER} is in more than one split: test, val."
        ]

    def test_video_listed_twice(self, tmp_path):
        parts = Parts()
        parts.videos.append(dataclasses.replace(parts.videos[3], path="other.mp4"))
        [problem] = problems(parts.write(tmp_path))
        assert problem.startswith(f"videos.parquet: a rule is broken: a video_id is unique ({FACELESS}")

    def test_a_reference_owes_no_samples(self, tmp_path):
        parts = Parts()
        real = dataclasses.replace(parts.videos[3], video_id="original", path="original.mp4", split=REFERENCE)
        fake = dataclasses.replace(parts.videos[1], video_id="fake", path="fake.mp4", source_id="original")
        parts.videos += [real, fake]
        parts.failures.append(FailureRecord("fake", Stage.DETECT, Reason.NO_FACE, "No frame shows a face."))
        assert problems(parts.write(tmp_path)) == []

    def test_video_unaccounted_for(self, tmp_path):
        parts = Parts()
        parts.failures.clear()
        assert problems(parts.write(tmp_path)) == [
            f"videos.parquet: video {FACELESS} has neither samples nor a failure."
        ]

    def test_unknown_videos(self, tmp_path):
        parts = Parts()
        del parts.videos[2]
        parts.failures.append(dataclasses.replace(parts.failures[0], video_id="nobody"))
        parts.faces.append(dataclasses.replace(parts.faces[0], video_id="someone"))
        found = problems(parts.write(tmp_path))
        assert f"samples.parquet: video {OTHER} is not in videos.parquet." in found
        assert "failures.parquet: video nobody is not in videos.parquet." in found
        assert "faces.parquet: video someone is not in videos.parquet." in found

    def test_sample_unlike_its_video(self, tmp_path):
        parts = Parts()
        parts.change(7, quality="c40")
        assert problems(parts.write(tmp_path)) == [
            f"{VAL}, row 1 ({OTHER}-f000012-t0): quality is 'c40', but 'c23' for its video."
        ]

    def test_sample_id_used_twice(self, tmp_path):
        parts = Parts()
        parts.change(1, sample_id=FIRST)
        assert f"{TRAIN}, row 0 ({FIRST}): this sample_id is used 2 times." in problems(parts.write(tmp_path))


class TestPictures:
    """Beside `test_planted_faults`: what the messages say, and what is no fault."""

    def changed(self, tmp_path: Path, position: int, **changes: object) -> list[Problem]:
        parts = Parts()
        if image := changes.get("image"):
            changes["image_sha256"] = hashlib.sha256(image).hexdigest()
        parts.change(position, **changes)
        recorded = {"none": Reason.MASK_UNAVAILABLE, "unreliable": Reason.MASK_UNRELIABLE}
        if reason := recorded.get(str(changes.get("mask_kind"))):
            parts.failures.append(FailureRecord(FAKE, Stage.MASK, reason, "As a build records it.", 1))
        return list(verify(parts.write(tmp_path), threads=1).problems)

    @pytest.mark.parametrize(
        ("pixels", "shape"),
        [
            (np.zeros((60, SIZE, 3), np.uint8), "64 x 60 with 3 channels of uint8"),
            (np.zeros((SIZE, SIZE), np.uint8), "64 x 64 with 1 channels of uint8"),
            (np.zeros((SIZE, SIZE, 4), np.uint8), "64 x 64 with 4 channels of uint8"),
            (np.zeros((SIZE, SIZE, 3), np.uint16), "64 x 64 with 3 channels of uint16"),
        ],
    )
    def test_size_of_pictures(self, tmp_path, pixels, shape):
        [problem] = self.changed(tmp_path, 0, image=png(pixels))
        assert problem.message == f"the image is {shape}, not 64 x 64 with 3 channels of uint8"

    @pytest.mark.parametrize(
        ("mask", "shape"),
        [
            (square_mask(32), "32 x 32 with 1 channels of uint8"),
            (square_mask()[:, :63], "63 x 64 with 1 channels of uint8"),
            (cv2.merge([square_mask()] * 3), "64 x 64 with 3 channels of uint8"),
            (square_mask().astype(np.uint16), "64 x 64 with 1 channels of uint16"),
        ],
    )
    def test_size_of_masks(self, tmp_path, mask, shape):
        [problem] = self.changed(tmp_path, 3, mask=png(mask))
        assert problem.message == f"the mask is {shape}, not 64 x 64 with 1 channel of uint8"

    def test_a_picture_of_absurd_size_is_never_decoded(self, tmp_path, monkeypatch):
        decoded = []
        decode = cv2.imdecode
        monkeypatch.setattr(cv2, "imdecode", lambda data, mode: decoded.append(decode(data, mode)) or decoded[-1])
        huge = cv2.imencode(".png", np.zeros((6000, 6000), np.uint8))[1].tobytes()
        decoded.clear()
        [problem] = self.changed(tmp_path, 0, image=huge)
        assert problem.message == "the image is 6000 x 6000, not 64 x 64"
        assert max(max(pixels.shape) for pixels in decoded) == SIZE

    def test_fake_without_a_mask(self, tmp_path):
        nothing = png(np.zeros((SIZE, SIZE), np.uint8))
        changes = {"mask": nothing, "mask_kind": MaskKind.NONE, "mask_coverage": None, "mask_iou": None}
        assert self.changed(tmp_path, 3, **changes) == []

    def test_a_mask_that_cannot_be_trusted_may_be_empty(self, tmp_path):
        nothing = png(np.zeros((SIZE, SIZE), np.uint8))
        assert self.changed(tmp_path, 3, mask=nothing, mask_kind=MaskKind.UNRELIABLE, mask_coverage=0.0) == []

    @pytest.mark.parametrize("coverage", [0.2501, 0.0])
    def test_coverage(self, tmp_path, coverage):
        found = self.changed(tmp_path, 3, mask_coverage=coverage)
        assert f"mask_coverage is {coverage:g}, but the mask covers 0.25" in [problem.message for problem in found]

    def test_a_face_of_a_fake_may_be_real_where_its_pixels_say_so(self, tmp_path):
        nothing = png(np.zeros((SIZE, SIZE), np.uint8))
        real = {"label": 0, "mask": nothing, "mask_kind": MaskKind.ZEROS, "mask_coverage": 0.0}
        assert self.changed(tmp_path, 3, **real, label_source="difference") == []


class TestAffine:
    """The fixture's box (100, 50)-(180, 130) fills the middle 80/104 of the crop."""

    def check(self, tmp_path: Path, affine: tuple[float, ...], **crop: object) -> list[Problem]:
        """What is wrong with a real and its fake that have this affine; where the recipe puts it is another matter."""
        parts = Parts()
        parts.recipe["crop"] = {**parts.recipe["crop"], **crop}
        for position in (0, 3):
            parts.change(position, affine=affine)
        problems = verify(parts.write(tmp_path), threads=1).problems
        return [problem for problem in problems if problem.check != "affine_recipe" and problem.row == 0]

    def shifted(self, pixels: float) -> tuple[float, ...]:
        zoom = SIZE / 104
        return (zoom, 0.0, -88 * zoom + pixels, 0.0, zoom, -38 * zoom)

    def turned(self, degrees: float) -> tuple[float, ...]:
        """Turns about the box's centre (140, 90), which stays in the middle of the crop."""
        a, b = (f(math.radians(degrees)) * SIZE / 104 for f in (math.cos, math.sin))
        return (a, -b, SIZE / 2 - 140 * a + 90 * b, b, a, SIZE / 2 - 140 * b - 90 * a)

    @pytest.mark.parametrize(
        "pixels", [0.0, 7.0, -7.0, 7.8]
    )  # the margin is 12 * 64 / 104 = 7.38 pixels, and half of one
    def test_boxes_inside(self, tmp_path, pixels):
        assert self.check(tmp_path, self.shifted(pixels)) == []

    @pytest.mark.parametrize("pixels", [8.0, -8.0, 500.0])
    def test_boxes_outside(self, tmp_path, pixels):
        [problem] = self.check(tmp_path, self.shifted(pixels))
        low, high = 12 * 64 / 104 + pixels, 92 * 64 / 104 + pixels
        place = f"it is mapped to x {low:.1f} to {high:.1f}, y 7.4 to 56.6 of 0 to 64"
        assert problem.message == f"affine does not map the box into the crop: {place}"

    def test_aligned_crops_hold_the_centre(self, tmp_path):
        assert self.check(tmp_path, self.shifted(30.0), align="similarity") == []
        assert self.check(tmp_path, self.turned(45), align="similarity") == []
        [problem] = self.check(tmp_path, self.shifted(33.0), align="similarity")
        assert "affine does not map the box's centre into the crop: it is mapped to x 65.0" in problem.message

    def test_crops_around_the_mask_hold_some_part(self, tmp_path):
        assert self.check(tmp_path, self.shifted(56.0), around="mask") == []
        [problem] = self.check(tmp_path, self.shifted(57.0), around="mask")
        assert "affine does not map any part of the box into the crop: it is mapped to x 64.4" in problem.message

    def test_turned_boxes(self, tmp_path):
        assert self.check(tmp_path, self.turned(5)) == []
        [problem] = self.check(tmp_path, self.turned(45))
        assert "affine does not map the box into the crop" in problem.message

    @pytest.mark.parametrize(
        "matrix", [(-1, 0, 0, 1), (1, 0, 0, -1), (0.7, 0.3, 0, 0.7), (0.6, 0, 0, 0.61), (0, 0, 0, 0), (0, 1, 1, 0)]
    )
    def test_no_similarity(self, tmp_path, matrix):
        a, b, c, d = map(float, matrix)
        affine = (a, b, 32 - 140 * a - 90 * b, c, d, 32 - 140 * c - 90 * d)
        assert "affine_similarity" in {problem.check for problem in self.check(tmp_path, affine)}

    def test_huge(self, tmp_path):
        found = self.check(tmp_path, (1e308, 0.0, 0.0, 0.0, 1e308, 0.0))
        assert "affine_box" in {problem.check for problem in found}

    @pytest.mark.parametrize("align", ["none", "similarity"])
    @pytest.mark.parametrize("scale", [1.0, 1.3, 2.6])
    def test_the_recipes_affine_is_that_of_the_build(self, scale, align):
        """Two computations of one thing: verification knows nothing of the code that crops."""
        settings = CropSettings(size=SIZE, scale=scale, align=align)
        rng = np.random.default_rng(3)
        landmarks = rng.uniform(0, 400, (20, 5, 2)).astype(np.float32)
        boxes = np.concatenate([landmarks.min(axis=1), landmarks.max(axis=1)], axis=1)
        built = [square_affine(box, settings) for box in boxes]
        expected = square_affines(boxes.astype(np.float64), scale, SIZE)
        if align == "similarity":
            built = [align_affine(points, settings) for points in landmarks]
            expected = aligned_affines(landmarks.reshape(-1, 10).astype(np.float64), scale, SIZE)
        assert np.allclose(np.reshape(built, (-1, 6)), expected, rtol=1e-5, atol=1e-4)


def edit(root: Path, change: Callable[[dict], object]) -> None:
    """Change dataset.json."""
    content = json.loads((root / DATASET_FILE).read_text())
    change(content)
    (root / DATASET_FILE).write_text(json.dumps(content))


def described(path: Path) -> dict:
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_pairs_whose_colours_are_tagged_differently_are_a_warning(tmp_path):
    def warned(*tags: tuple[int, int]) -> list[str]:
        parts = Parts()
        for position, (matrix, colours) in enumerate(tags):
            known = parts.facts[position]
            parts.facts[position] = dataclasses.replace(known, colour_matrix=matrix, colour_range=colours)
        root = parts.write(tmp_path)
        report = verify(root)
        assert report.ok
        return [warning.message for warning in report.warnings if warning.check == "pair_colours"]

    assert warned((1, 1), (6, 1), (9, 2)) == [
        "1 videos of deepfakes have other colour tags than their originals: matrix and range of "
        f"{FAKE} are (5, 1), and of its original (1, 1)"
    ]
    assert len(warned((1, 1), (1, 2))) == len(warned((2, 0), (1, 1))) == 1
    assert warned((1, 1), (1, 1)) == warned((2, 0), (6, 1)) == []
