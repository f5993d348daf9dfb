"""Planted faults: each with the check that finds it. All hashes and counts are made anew, so that nothing else can.

A new kind of fault is a new row.
"""

import dataclasses
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from facemill.manifests.checks.group_checks import GROUP_CHECKS
from facemill.manifests.checks.row_checks import ROW_CHECKS
from facemill.manifests.checks.verify import verify
from facemill.manifests.codes import MaskKind, Reason, Stage
from facemill.manifests.schemas import SAMPLES
from facemill.manifests.shards.dataset import (
    BUILD_FILE,
    CARD_FILE,
    CROISSANT_FILE,
    DATASET_FILE,
    FACES_FILE,
    FACTS_FILE,
    FAILURES_FILE,
    SAMPLES_FILE,
    STATE_FOLDER,
    VIDEOS_FILE,
)
from tests.manifests.small_dataset import SIZE, Parts, png, square_mask

REAL, FAKE, OTHER = "ffpp-real-c23-000", "ffpp-deepfakes-c23-000_003", "ffpp-real-c23-001"
TRAIN, VAL = "train/train-000000", "val/val-000000"
FIRST_REAL, FIRST_FAKE, FIRST_OTHER = 0, 3, 6
"""Positions of the first sample of each video: three of the real, three of its fake, three of another real."""
ZOOM = SIZE / 104


def noise(seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def change(position: int = FIRST_REAL, **fields: Any) -> Callable[[Parts], None]:
    """Change a sample's record, in its shard and in samples.parquet."""
    return lambda parts: parts.change(position, **fields)


def both(**fields: Any) -> Callable[[Parts], None]:
    """Change a real sample and its fake alike."""

    def plant(parts: Parts) -> None:
        parts.change(FIRST_REAL, **fields)
        parts.change(FIRST_FAKE, **fields)

    return plant


def picture(position: int, image: bytes, **fields: Any) -> Callable[[Parts], None]:
    """Change a picture, and its hash with it."""
    return change(position, image=image, image_sha256=hashlib.sha256(image).hexdigest(), **fields)


def same_picture(position: int, other: int) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        picture(position, parts.samples[other].image)(parts)

    return plant


def recipe(section: str, **keys: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.recipe[section] = {**parts.recipe[section], **keys}

    return plant


def face(position: int, **fields: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.faces[position] = dataclasses.replace(parts.faces[position], **fields)

    return plant


def fact(position: int, **fields: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.facts[position] = dataclasses.replace(parts.facts[position], **fields)

    return plant


def failure(**fields: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.failures.append(dataclasses.replace(parts.failures[0], **fields))

    return plant


def video(position: int, **fields: Any) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        parts.videos[position] = dataclasses.replace(parts.videos[position], **fields)

    return plant


def sequence(*plants: Callable[[Parts], object]) -> Callable[[Parts], None]:
    def plant(parts: Parts) -> None:
        for one in plants:
            one(parts)

    return plant


MARKS = (120.0, 80.0, 160.0, 80.0, 140.0, 95.0, 125.0, 110.0, 155.0, 110.0)
EYES_SWAPPED = (*MARKS[2:4], *MARKS[:2], *MARKS[4:])
MOUTH_SWAPPED = (*MARKS[:6], *MARKS[8:], *MARKS[6:8])
MOUTH_ABOVE_EYES = (*MARKS[6:], *MARKS[4:6], *MARKS[:4])
NOSE_ABOVE_EYES = (*MARKS[:4], 140.0, 52.0, *MARKS[6:])
MARK_OUTSIDE = (20.0, *MARKS[1:])
SHIFTED = (ZOOM, 0.0, -88 * ZOOM + 4, 0.0, ZOOM, -38 * ZOOM)
"""The crop four pixels off: the box still lies inside."""
EMPTY = png(np.zeros((SIZE, SIZE), np.uint8))
LARGE = cv2.imencode(".png", np.zeros((4000, 4000, 3), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def pillow(mode: str, *, frames: int = 1, rotated: bool = False) -> bytes:
    """A PNG as only Pillow writes it."""
    image, file, exif = Image.fromarray(noise()).convert(mode), io.BytesIO(), Image.Exif()
    exif[0x0112] = 6 if rotated else 1
    more = [image.rotate(90 * number) for number in range(1, frames)]
    image.save(file, "PNG", exif=exif, save_all=frames > 1, append_images=more)
    return file.getvalue()


ROW_FAULTS: dict[str, tuple[Callable[[Parts], object], str, int]] = {
    "frame beside sample_id": (change(frame_index=1, pts_s=0.01), "sample_id", FIRST_REAL),
    "track beside sample_id": (change(track_id=1), "sample_id", FIRST_REAL),
    "video beside sample_id": (change(sample_id=f"{OTHER}-f000099-t0"), "sample_id", FIRST_REAL),
    "negative frame": (change(frame_index=-4, sample_id=f"{REAL}-f0000-4-t0"), "frame_index", FIRST_REAL),
    "negative track": (change(track_id=-1, sample_id=f"{REAL}-f000000-t-1"), "track_id", FIRST_REAL),
    "dataset": (change(dataset="dfdc"), "video_dataset", FIRST_REAL),
    "method": (change(FIRST_FAKE, method="faceswap"), "video_method", FIRST_FAKE),
    "quality": (change(quality="c40"), "video_quality", FIRST_REAL),
    "source of a real": (change(source_id=OTHER), "video_source_id", FIRST_REAL),
    "subjects": (change(FIRST_FAKE, subject_ids=("ffpp-000",)), "video_subject_ids", FIRST_FAKE),
    "label of a real": (change(label=1, mask_kind=MaskKind.NONE, mask_coverage=None), "video_label", FIRST_REAL),
    "label of a fake": (
        change(FIRST_FAKE, label=0, label_source="video", mask_kind=MaskKind.ZEROS, mask_coverage=0.0, mask=EMPTY),
        "video_label", FIRST_FAKE,
    ),
    "label by no difference": (change(FIRST_FAKE, difference=None), "difference_label", FIRST_FAKE),
    "difference of a real": (change(difference=3.0), "difference_of", FIRST_REAL),
    "negative difference": (change(FIRST_FAKE, difference=-1.0), "difference", FIRST_FAKE),
    "difference is no number": (change(FIRST_FAKE, difference=float("nan")), "difference", FIRST_FAKE),
    "time is no number": (change(pts_s=float("nan")), "pts_s", FIRST_REAL),
    "time of days": (change(FIRST_REAL + 2, pts_s=1e9), "pts_s", FIRST_REAL + 2),
    "time goes back": (change(FIRST_REAL + 1, pts_s=-0.5), "times_rise", FIRST_REAL + 1),
    "times unlike the frame rate": (change(FIRST_REAL + 2, pts_s=2.5), "times", FIRST_REAL + 2),
    "times all equal": (
        sequence(change(FIRST_REAL + 1, pts_s=0.0), change(FIRST_REAL + 2, pts_s=0.0)), "times", FIRST_REAL + 1,
    ),
    "face in two tracks": (
        sequence(change(FIRST_OTHER + 1, frame_index=0, pts_s=0.0, track_id=1, sample_id=f"{OTHER}-f000000-t1")),
        "same_face", FIRST_OTHER + 1,
    ),
    "another time for a frame": (
        change(FIRST_OTHER + 1, frame_index=0, pts_s=0.01, track_id=1, sample_id=f"{OTHER}-f000000-t1"),
        "times_rise", FIRST_OTHER + 1,
    ),
    "real face that the recipe drops": (
        sequence(lambda parts: parts.recipe.update(label={"unforged": "drop"}),
                 change(FIRST_FAKE, label=0, mask_kind=MaskKind.ZEROS, mask_coverage=0.0, mask=EMPTY)),
        "unforged", FIRST_FAKE,
    ),
    "ground truth without a mask video": (
        change(FIRST_FAKE, mask_kind=MaskKind.OFFICIAL), "ground_truth", FIRST_FAKE,
    ),
    "label by a mask without a mask video": (change(FIRST_FAKE, label_source="mask"), "ground_truth", FIRST_FAKE),
    "score above 1": (both(score=1.5), "score", FIRST_REAL),
    "score is no number": (both(score=float("nan")), "score", FIRST_REAL),
    "score below the recipe's": (both(score=0.2), "min_score", FIRST_REAL),
    "box without area": (both(bbox=(180.0, 50.0, 100.0, 130.0)), "bbox_area", FIRST_REAL),
    "box is no number": (both(bbox=(float("inf"), 50.0, 180.0, 130.0)), "bbox_finite", FIRST_REAL),
    "box outside the frame": (both(bbox=(-180.0, 50.0, -100.0, 130.0)), "bbox_frame", FIRST_REAL),
    "small face": (both(bbox=(130.0, 80.0, 150.0, 100.0)), "min_face", FIRST_REAL),
    "box right of the frame": (both(bbox=(600.0, 50.0, 680.0, 130.0)), "bbox_frame", FIRST_REAL),
    "landmarks unlike the detector's": (both(landmarks=(121.0, *MARKS[1:])), "faces_box", FIRST_REAL),
    "score unlike the detector's": (both(score=0.98), "faces_box", FIRST_REAL),
    "box unlike the detector's": (both(bbox=(101.0, 50.0, 181.0, 130.0)), "faces_box", FIRST_REAL),
    "landmark is no number": (both(landmarks=(float("nan"), *MARKS[1:])), "landmarks_finite", FIRST_REAL),
    "landmark outside the box": (both(landmarks=MARK_OUTSIDE), "landmarks_box", FIRST_REAL),
    "eyes swapped": (both(landmarks=EYES_SWAPPED), "landmarks_order", FIRST_REAL),
    "mouth corners swapped": (both(landmarks=MOUTH_SWAPPED), "landmarks_order", FIRST_REAL),
    "mouth above the eyes": (both(landmarks=MOUTH_ABOVE_EYES), "landmarks_order", FIRST_REAL),
    "nose above the eyes": (both(landmarks=NOSE_ABOVE_EYES), "landmarks_order", FIRST_REAL),
    "affine is no number": (both(affine=(float("inf"), *SHIFTED[1:])), "affine_finite", FIRST_REAL),
    "affine mirrors": (both(affine=(-ZOOM, 0.0, 152 * ZOOM, 0.0, ZOOM, -38 * ZOOM)), "affine_similarity", FIRST_REAL),
    "affine shifts the crop": (both(affine=SHIFTED), "affine_recipe", FIRST_REAL),
    "affine leaves the box outside": (both(affine=(ZOOM, 0.0, 500.0, 0.0, ZOOM, 0.0)), "affine_box", FIRST_REAL),
    "affine of a pair": (change(FIRST_FAKE, affine=SHIFTED), "pair_affine", FIRST_FAKE),
    "box of a pair": (change(FIRST_FAKE, bbox=(101.0, 50.0, 181.0, 130.0)), "pair_bbox", FIRST_FAKE),
    "landmarks of a pair": (change(FIRST_FAKE, landmarks=(121.0, *MARKS[1:])), "pair_landmarks", FIRST_FAKE),
    "offset": (change(FIRST_FAKE, pair_offset=1), "pair", FIRST_FAKE),
    "offset of a real": (change(pair_offset=0), "pair", FIRST_REAL),
    "crop size": (change(crop_size=65), "crop_size", FIRST_REAL),
    "mask kind of a real": (change(mask_kind=MaskKind.OFFICIAL), "mask_kind", FIRST_REAL),
    "mask kind of a fake": (change(FIRST_FAKE, mask_kind=MaskKind.ZEROS), "mask_kind", FIRST_FAKE),
    "mask kind excluded": (
        sequence(recipe("mask", source="difference"), change(FIRST_FAKE, mask_kind=MaskKind.OFFICIAL)),
        "mask_source", FIRST_FAKE,
    ),
    "coverage of no mask": (change(FIRST_FAKE, mask_kind=MaskKind.NONE, mask=EMPTY), "mask_coverage", FIRST_FAKE),
    "coverage missing": (change(FIRST_FAKE, mask_coverage=None), "mask_coverage", FIRST_FAKE),
    "coverage of a real": (change(mask_coverage=0.2), "mask_coverage", FIRST_REAL),
    "coverage above 1": (change(FIRST_FAKE, mask_coverage=1.2), "coverage_range", FIRST_FAKE),
    "coverage unlike the mask's": (change(FIRST_FAKE, mask_coverage=0.26), "mask_area", FIRST_FAKE),
    "IoU of one mask": (change(FIRST_FAKE, mask_iou=0.5), "mask_iou", FIRST_FAKE),
    "IoU above 1": (change(FIRST_FAKE, mask_iou=1.5, mask_kind=MaskKind.OFFICIAL), "iou_range", FIRST_FAKE),
    "picture of another format": (picture(0, cv2.imencode(".jpg", noise())[1].tobytes()), "image_format", FIRST_REAL),
    "picture of another size": (picture(0, png(noise()[:60])), "image_shape", FIRST_REAL),
    "picture with a palette": (picture(0, pillow("P")), "image_plain", FIRST_REAL),
    "picture of two frames": (picture(0, pillow("RGB", frames=2)), "image_plain", FIRST_REAL),
    "picture that is marked as rotated": (picture(0, pillow("RGB", rotated=True)), "image_plain", FIRST_REAL),
    "mask of one bit": (change(FIRST_FAKE, mask=cv2.imencode(
        ".png", square_mask(), [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()), "mask_plain", FIRST_FAKE),
    "picture of absurd size": (picture(0, LARGE), "image_decodes", FIRST_REAL),
    "picture is none": (picture(0, b"\x89PNG and no more"), "image_decodes", FIRST_REAL),
    "hash of a picture": (change(image_sha256="0" * 64), "image_sha256", FIRST_REAL),
    "picture of the original": (same_picture(FIRST_FAKE, FIRST_REAL), "pair_picture", FIRST_FAKE),
    "mask of a real": (change(mask=png(square_mask())), "mask_zero", FIRST_REAL),
    "mask in gray": (change(FIRST_FAKE, mask=png(square_mask() // 2)), "mask_values", FIRST_FAKE),
    "mask of another size": (change(FIRST_FAKE, mask=png(square_mask(32))), "mask_shape", FIRST_FAKE),
    "mask is none": (change(FIRST_FAKE, mask=b"no mask"), "mask_decodes", FIRST_FAKE),
    "mask of another format": (
        change(FIRST_FAKE, mask=cv2.imencode(".jpg", square_mask())[1].tobytes()), "mask_format", FIRST_FAKE,
    ),
    "frame that nobody looked at": (
        change(FIRST_OTHER, frame_index=5, sample_id=f"{OTHER}-f000005-t0"), "faces_looked", FIRST_OTHER,
    ),
    "frame between the steps": (
        sequence(recipe("sample", strategy="stride", every=12, frames=None),
                 change(FIRST_OTHER + 1, frame_index=17, sample_id=f"{OTHER}-f000017-t0")), "stride", FIRST_OTHER + 1,
    ),
}  # fmt: skip
"""What is planted, the check that finds it, and the position of the sample that it must name."""


@pytest.mark.parametrize("fault", ROW_FAULTS)
def test_faults_of_single_rows(tmp_path, fault):
    plant, check, position = ROW_FAULTS[fault]
    parts = Parts()
    plant(parts)
    root = parts.write(tmp_path)
    found = [problem for problem in verify(root, threads=1).problems if problem.check == check]
    assert found, [str(problem) for problem in verify(root, threads=1).problems]
    shard, row = (f"{TRAIN}.parquet", position) if position < 6 else (f"{VAL}.parquet", position - 6)
    named = (shard, row, parts.samples[position].record.sample_id)
    assert (found[0].file, found[0].row, found[0].sample_id) == named
    assert "{" not in found[0].message


@pytest.mark.parametrize("check", [check.name for check in (*ROW_CHECKS, *GROUP_CHECKS)])
def test_every_check_of_rows_has_its_fault(check):
    assert check in {name for _, name, *_ in (*ROW_FAULTS.values(), *TABLE_FAULTS.values())}


def empty_mask(parts: Parts) -> None:
    parts.change(FIRST_FAKE, mask=EMPTY, mask_coverage=0.0)


def frames_twice(parts: Parts) -> None:
    parts.faces.append(parts.faces[0])


TABLE_FAULTS: dict[str, tuple[Callable[[Parts], object], str]] = {
    "picture in two splits": (same_picture(FIRST_OTHER, FIRST_REAL), "picture_split"),
    "sample_id twice": (change(1, sample_id=f"{REAL}-f000000-t0"), "unique_id"),
    "more frames than the recipe takes": (recipe("sample", frames=2), "frames"),
    "empty mask that is not recorded": (empty_mask, "mask_empty"),
    "video of another split": (change(8, split="test"), "video_split"),
    "video without samples or failure": (lambda parts: parts.failures.clear(), "video_accounted"),
    "failure of an unknown video": (failure(video_id="nobody"), "video_known"),
    "samples of an unknown video": (lambda parts: parts.videos.pop(2), "video_known"),
    "faces of an unknown video": (face(0, video_id="someone"), "video_known"),
    "failure twice": (failure(), "failure_twice"),
    "failure of more frames than there are": (
        failure(video_id=REAL, stage=Stage.DETECT, reason=Reason.NO_FACE, frames=101), "failure_count_frames",
    ),
    "mask that is missing without a record": (
        change(FIRST_FAKE, mask_kind=MaskKind.NONE, mask=EMPTY, mask_coverage=None), "mask_recorded",
    ),
    "mask that is unreliable without a record": (
        change(FIRST_FAKE, mask_kind=MaskKind.UNRELIABLE), "mask_recorded",
    ),
    "facts of an unknown video": (lambda parts: parts.facts.append(
        dataclasses.replace(parts.facts[0], video_id="nobody")), "video_known"),
    "facts missing": (lambda parts: parts.facts.pop(1), "facts_missing"),
    "facts twice": (lambda parts: parts.facts.append(parts.facts[0]), "facts_twice"),
    "facts: no width": (fact(0, width=0), "facts_size"),
    "facts: no frames": (fact(0, frames=-1), "facts_size"),
    "facts: rate is no number": (fact(0, fps=float("nan")), "facts_numbers"),
    "facts: infinite aspect": (fact(0, pixel_aspect=float("inf")), "facts_numbers"),
    "facts: turned by an odd angle": (fact(0, rotation=45), "facts_numbers"),
    "facts: cuts out of order": (fact(0, cuts=(50, 20)), "facts_cuts"),
    "facts: cut behind the last frame": (fact(0, cuts=(100,)), "facts_cuts"),
    "facts: another size than the manifest's": (
        sequence(video(0, size_bytes=10), fact(0, size_bytes=11)), "facts_file",
    ),
    "facts: another hash than the manifest's": (
        sequence(video(0, content_hash="xxh3:" + "0" * 32), fact(0, content_hash="xxh3:" + "1" * 32)), "facts_file",
    ),
    "times beyond the video's end": (
        sequence(fact(0, variable_rate=True), change(FIRST_REAL + 2, pts_s=4.5)), "times",
    ),
    "failure of less than no frames": (failure(frames=-1), "failure_frames"),
    "failure of a whole video that has samples": (
        failure(video_id=REAL, stage=Stage.DECODE, reason=Reason.UNREADABLE), "failure_samples",
    ),
    "faces: score above 1": (face(0, scores=(1.5,)), "faces_numbers"),
    "faces: box is no number": (face(0, boxes=((float("nan"),) * 4,)), "faces_numbers"),
    "faces: box without area": (face(0, boxes=((90.0, 90.0, 10.0, 10.0),)), "faces_numbers"),
    "faces: box right of the frame": (face(0, boxes=((900.0, 90.0, 990.0, 180.0),)), "faces_outside"),
    "faces: frame behind the last one": (face(0, frame_index=100), "faces_count"),
    "faces: a score too few": (face(2, scores=(0.9, 0.9)), "faces_counts"),
    "faces: negative frame": (face(0, frame_index=-1), "faces_frame"),
    "faces: a frame twice": (frames_twice, "faces_twice"),
    "recipe without a section": (lambda parts: parts.recipe.pop("mask"), "dataset_json"),
    "recipe with an impossible size": (recipe("crop", size=0), "dataset_json"),
    "recipe with an unknown alignment": (recipe("crop", align="magic"), "dataset_json"),
}  # fmt: skip


@pytest.mark.parametrize("fault", TABLE_FAULTS)
def test_faults_of_tables(tmp_path, fault):
    plant, check = TABLE_FAULTS[fault]
    parts = Parts()
    plant(parts)
    problems = verify(parts.write(tmp_path), threads=1).problems
    assert check in {problem.check for problem in problems}, [str(problem) for problem in problems]


# Files ------------------------------------------------------------------------------------------------


def edit(change: Callable[[dict[str, Any]], object], name: str = DATASET_FILE) -> Callable[[Path], None]:
    """Change a JSON file of a written dataset."""

    def plant(root: Path) -> None:
        content = json.loads((root / name).read_text())
        change(content)
        (root / name).write_text(json.dumps(content))

    return plant


def write(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(content)


def rows(name: str, change: Callable[[list[dict[str, Any]]], object]) -> Callable[[Path], None]:
    """Change the rows of a table."""

    def plant(root: Path) -> None:
        table = pq.read_table(root / name)
        values = table.to_pylist()
        change(values)
        pq.write_table(pa.Table.from_pylist(values, table.schema), root / name)

    return plant


def facts(frames: int) -> Callable[[Path], object]:
    """The first real video has so many frames; the dataset has number 24."""
    return rows(FACTS_FILE, lambda values: values[0].update(frames=frames))


FLIPPED = b'{"info": {"features": {"label": {"names": ["fake", "real"], "_type": "ClassLabel"}}}}'


def classes(root: Path, stated: bytes = FLIPPED) -> None:
    """Other classes in the metadata of a shard, by which `datasets` names labels."""
    path = root / f"{TRAIN}.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": stated}), path)


BUILD = f"{STATE_FOLDER}/{BUILD_FILE}"
FIRST_RESULT = "_state/train-000000.json"
FILE_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "shard listed twice": (edit(lambda info: info["shards"].append(info["shards"][0])), "shard_twice"),
    "shard of another folder": (edit(lambda info: info["shards"][0].update(path="../train-000000.tar")), "shard_path"),
    "shard of 5000 characters": (edit(lambda info: info["shards"][0].update(path="x" * 5000)), "shard_path"),
    "shard of another split": (edit(lambda info: info["shards"][1].update(split="test")), "shard_path"),
    "shard of another format": (edit(lambda info: info["shards"][1].update(path=f"{VAL}.tar")), "shard_format"),
    "shard of fewer rows": (edit(lambda info: info["shards"][1].update(rows=2)), "shard_rows"),
    "shard of less than nothing": (edit(lambda info: info["shards"][1].update(rows=-2)), "shard_counts"),
    "shard that is not listed": (lambda root: (root / f"{VAL}.parquet").rename(root / "val/val-000001.parquet"),
                                 "shard_unlisted"),
    "stray tar": (write(f"{TRAIN}.tar", b""), "shard_unlisted"),
    "count as a word": (edit(lambda info: info["counts"]["train"]["real"].update(samples="3")), "dataset_json"),
    "count with a fraction": (edit(lambda info: info.update(failures=1.5)), "dataset_json"),
    "count that is wrong": (edit(lambda info: info["counts"]["train"]["real"].update(samples=4)), "sample_counts"),
    "failures that are wrong": (edit(lambda info: info.update(failures=2)), "failure_count"),
    "Infinity": (lambda root: edit(lambda info: info.update(failures=float("inf")))(root), "dataset_json"),
    "deep JSON": (write(DATASET_FILE, b"[" * 100_000), "dataset_json"),
    "dataset.json is a list": (write(DATASET_FILE, b"[]"), "dataset_json"),
    "dataset.json is not UTF-8": (write(DATASET_FILE, b"\xff\xfe{"), "dataset_json"),
    "card missing": (lambda root: (root / CARD_FILE).unlink(), "card"),
    "card with another count": (lambda root: (root / CARD_FILE).write_text(
        (root / CARD_FILE).read_text().replace("| train | real | 3 | 1 |", "| train | real | 4 | 1 |")), "card"),
    "croissant.json missing": (lambda root: (root / CROISSANT_FILE).unlink(), "croissant"),
    "croissant.json with another hash": (
        edit(lambda values: values["distribution"][0].update(sha256="0" * 64), CROISSANT_FILE), "croissant",
    ),
    "samples out of order": (rows(SAMPLES_FILE, lambda values: values.reverse()), "order"),
    "sample of a shard that is not there": (
        rows(SAMPLES_FILE, lambda values: values[8].update(shard="val/val-000009.parquet")), "shard_known",
    ),
    "sample missing": (rows(SAMPLES_FILE, lambda values: values.pop(1)), "listed"),
    "sample too many": (
        rows(SAMPLES_FILE, lambda values: values.append({**values[8], "sample_id": "x", "row": 3})), "there",
    ),
    "failure that is retried or not": (
        rows(FAILURES_FILE, lambda values: values[0].update(retryable=True)), "failure_retryable",
    ),
    "facts missing": (lambda root: (root / FACTS_FILE).unlink(), "state_merged"),
    "build.json: garbage": (write(BUILD, b"[[["), "build_json"),
    "build.json: a list": (write(BUILD, b"[]"), "build_json"),
    "build.json: another recipe": (edit(lambda build: build["recipe"]["mask"].update(threshold=0.9), BUILD),
                                   "build_json"),
    "dataset.json: another recipe": (edit(lambda info: info["recipe"]["mask"].update(threshold=0.9)), "build_json"),
    "dataset.json: a section less": (edit(lambda info: info["recipe"].pop("paper")), "build_json"),
    "dataset.json: other versions": (edit(lambda info: info.update(versions={})), "build_json"),
    "dataset.json: another facemill": (edit(lambda info: info.update(facemill="0.0.1")), "build_json"),
    "videos: another order": (rows(VIDEOS_FILE, lambda values: values.reverse()), "build_manifest"),
    "videos: another path": (rows(VIDEOS_FILE, lambda values: values[0].update(path="b.mp4")), "build_manifest"),
    "state: another number of videos": (edit(lambda result: result.update(videos=7), FIRST_RESULT), "state_videos"),
    "state: more videos without samples": (
        edit(lambda result: result.update(videos_without_samples=2), FIRST_RESULT), "state_videos",
    ),
    "state: another split": (edit(lambda result: result.update(split="val"), FIRST_RESULT), "state_shard"),
    "state: another name": (edit(lambda result: result.update(shard_id="x"), FIRST_RESULT), "state_shard"),
    "state: no shard": (edit(lambda result: result.update(shard=None), FIRST_RESULT), "state_shard"),
    "state: made in another way": (edit(lambda result: result.update(identity="0" * 64), FIRST_RESULT),
                                   "state_identity"),
    "state: rows of a table": (edit(lambda result: result["faces"].update(rows=1), FIRST_RESULT), "state_table"),
    "state: place of a table": (edit(lambda result: result["faces"].update(path="../x"), FIRST_RESULT), "state_table"),
    "classes of another order in a shard": (classes, "shard_layout"),
    "classes that cannot be read": (lambda root: classes(root, b"["), "shard_layout"),
    "frame behind the last one": (facts(frames=24), "frame_count"),
    "facts unlike the state's": (facts(frames=25), "state_merged"),
    "state: a shard's facts gone": (
        lambda root: (root / "_state/tables/train-000000.facts.parquet").unlink(), "state_table",
    ),
    "facts that are no table": (write(FACTS_FILE, b"PAR1"), "table_readable"),
    "unknown failure": (rows(FAILURES_FILE, lambda values: values[0].update(reason="tired")), "failure_names"),
    "unknown mask kind": (rows(SAMPLES_FILE, lambda values: values[3].update(mask_kind="magic")), "mask_source"),
    "null": (lambda root: pq.write_table(
        pa.Table.from_pylist([{**row, "score": None} for row in pq.read_table(root / SAMPLES_FILE).to_pylist()]),
        root / SAMPLES_FILE), "table_readable"),
    "column of version 2 missing": (lambda root: pq.write_table(
        pq.read_table(root / SAMPLES_FILE).drop_columns("label_source"), root / SAMPLES_FILE), "table_readable"),
    "cell of many bytes": (rows(FAILURES_FILE, lambda values: values[0].update(message="x" * 10_000_000)),
                           "table_readable"),
    "state: another shard": (edit(lambda result: result["shard"].update(rows=5), FIRST_RESULT), "state_shard"),
    "state: another table": (lambda root: rows("_state/tables/train-000000.samples.parquet",
                                               lambda values: values[0].update(score=0.91))(root), "state_table"),
    "state: a failure more": (edit(lambda result: result["failures"].append({}), FIRST_RESULT), "state_failures"),
    "state: a shard's result missing": (lambda root: (root / "_state/val-000000.json").unlink(), "state_missing"),
    "state: no result": (write(FIRST_RESULT, b"[]"), "state_readable"),
    "state: deep JSON": (write(FIRST_RESULT, b"[" * 100_000), "state_readable"),
    "faces unlike the state's": (
        rows(FACES_FILE, lambda values: values[1].update(scores=[0.93, 0.94])), "state_merged",
    ),
    **{
        f"samples.parquet: {field.name}": (
            rows(SAMPLES_FILE, lambda values, name=field.name: values[4].update({name: other(values[4][name])})),
            "listed" if field.name == "sample_id" else "there" if field.name == "shard" else f"listed_{field.name}",
        )
        for field in SAMPLES if field.name not in ("mask_iou", "shard")
    },
}  # fmt: skip


def other(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, list):
        return [other(value[0]), *value[1:]]
    return f"{value}0" if isinstance(value, str) else value + 1


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_faults_of_files(tmp_path, fault):
    plant, check = FILE_FAULTS[fault]
    root = Parts().write(tmp_path, state=True)
    assert verify(root, threads=1).problems == ()
    plant(root)
    problems = verify(root, threads=1).problems
    assert check in {problem.check for problem in problems}, [str(problem) for problem in problems]
    assert all(len(str(problem)) < 1000 for problem in problems)


def test_the_last_frame_of_a_video_is_in_order(tmp_path):
    root = Parts().write(tmp_path)
    facts(frames=25)(root)
    assert verify(root, threads=1).problems == ()


# Tar shards -------------------------------------------------------------------------------------------


PARTS = ("json", "mask.png", "png")
Members = list[tuple[tarfile.TarInfo, bytes]]


def renamed(members: Members, position: int, name: str) -> None:
    members[position][0].name = name
    members[position][0].pax_headers = {}


def sparse(members: Members) -> None:
    members[2][0].type = tarfile.GNUTYPE_SPARSE


def linked(members: Members) -> None:
    members[2][0].type, members[2][0].linkname, members[2][0].size = tarfile.SYMTYPE, "/etc/passwd", 0


TAR_FAULTS: dict[str, tuple[Callable[[Members], object], str]] = {
    "time": (lambda members: setattr(members[0][0], "mtime", 5), "shard_layout"),
    "owner": (lambda members: setattr(members[0][0], "uname", "root"), "shard_layout"),
    "mode": (lambda members: setattr(members[0][0], "mode", 0o777), "shard_layout"),
    "order": (lambda members: members.insert(0, members.pop(1)), "shard_layout"),
    "key": (lambda members: [renamed(members, place, f"other.{part}") for place, part in enumerate(PARTS)],
            "shard_readable"),
    "member twice": (lambda members: members.insert(1, members[0]), "shard_readable"),
    "sample twice": (lambda members: members.extend(members[:3]), "shard_readable"),
    "member missing": (lambda members: members.pop(1), "shard_readable"),
    "member of another type": (lambda members: renamed(members, 2, members[2][0].name.replace(".png", ".gif")),
                               "shard_readable"),
    "link": (linked, "shard_readable"),
    "huge member": (lambda members: members.__setitem__(2, (members[2][0], bytes(1_000_000))), "shard_readable"),
    "name that is no UTF-8": (lambda members: renamed(members, 2, "\udcff.png"), "shard_readable"),
    "deep JSON": (lambda members: members.__setitem__(0, (members[0][0], b"[" * 60_000)), "shard_readable"),
}  # fmt: skip


@pytest.mark.parametrize("fault", [*TAR_FAULTS, "trailing bytes", "cut at a header"])
def test_faults_of_tars(tmp_path, fault):
    root = Parts().write(tmp_path, "webdataset")
    path = root / f"{TRAIN}.tar"
    check = "shard_layout"
    if fault == "trailing bytes":
        path.write_bytes(path.read_bytes() + b"more" + bytes(508))
    elif fault == "cut at a header":
        with tarfile.open(path) as tar:
            start = tar.getmembers()[6].offset
        path.write_bytes(path.read_bytes()[:start])
        check = "shard_readable"
    else:
        plant, check = TAR_FAULTS[fault]
        rewrite(path, plant)
    sealed = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    edit(lambda info: info["shards"][0].update(sealed))(root)
    problems = verify(root, threads=1).problems
    assert check in {p.check for p in problems if p.file == f"{TRAIN}.tar"}, [str(problem) for problem in problems]
    assert "shard_sha256" not in {problem.check for problem in problems}
    "\n".join(map(str, problems)).encode()  # prints everywhere


def rewrite(path: Path, change: Callable[[Members], object]) -> None:
    """Write a tar again with changed members."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    change(members)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for member, content in members:
            if member.isreg():
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("format_name", ["parquet", "webdataset"])
def test_a_sound_dataset_has_no_fault_and_nothing_odd(tmp_path, format_name):
    report = verify(Parts().write(tmp_path, format_name, state=True), threads=2)
    assert (report.problems, report.warnings) == ((), ())


def test_many_rows_of_one_fault_are_one_problem(tmp_path):
    parts = Parts()
    for position in range(9):
        parts.change(position, image_sha256="0" * 63 + str(position))
    [problem] = verify(parts.write(tmp_path), threads=2).problems
    assert (problem.check, problem.row, problem.more) == ("image_sha256", 0, 8)
    assert str(problem).endswith("differs from the recorded one, and 8 more like this.")


@pytest.mark.parametrize("name", [DATASET_FILE, SAMPLES_FILE, FACES_FILE, FAILURES_FILE, CARD_FILE, f"{TRAIN}.parquet"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path, name):
    root = Parts().write(tmp_path)
    (root / name).unlink()
    os.mkfifo(root / name)
    assert name in {problem.file for problem in verify(root, threads=1).problems}


def test_shuffled_rows_are_one_problem(tmp_path):
    root = Parts().write(tmp_path)
    rows(SAMPLES_FILE, lambda values: values.sort(key=lambda row: row["image_sha256"]))(root)
    [problem] = verify(root, threads=1).problems
    assert (problem.file, problem.check) == (SAMPLES_FILE, "order")
