"""Faults of single rows, each with the check that finds it and the sample named. A new kind of fault is a new row."""

import zlib
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from facemill.manifests.checks.sample_checks import ImageCheck
from facemill.manifests.checks.verify import verify
from facemill.manifests.codes import MaskKind
from tests.manifests.checks.planting import (
    FIRST_FAKE,
    FIRST_OTHER,
    FIRST_REAL,
    OTHER,
    REAL,
    TRAIN,
    VAL,
    ZOOM,
    both,
    change,
    noise,
    picture,
    pillow,
    recipe,
    same_picture,
    sequence,
    video,
)
from tests.manifests.small_dataset import SIZE, Parts, png, square_mask

MARKS = (120.0, 80.0, 160.0, 80.0, 140.0, 95.0, 125.0, 110.0, 155.0, 110.0)
EYES_SWAPPED = (*MARKS[2:4], *MARKS[:2], *MARKS[4:])
MOUTH_SWAPPED = (*MARKS[:6], *MARKS[8:], *MARKS[6:8])
MOUTH_ABOVE_EYES = (*MARKS[6:], *MARKS[4:6], *MARKS[:4])
NOSE_ABOVE_EYES = (*MARKS[:4], 140.0, 52.0, *MARKS[6:])
MARK_OUTSIDE = (20.0, *MARKS[1:])
SHIFTED = (ZOOM, 0.0, -88 * ZOOM + 4, 0.0, ZOOM, -38 * ZOOM)
"""The crop four pixels off: the box still lies inside."""
EMPTY = png(np.zeros((SIZE, SIZE), np.uint8))
QUICKLY = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
LARGE = cv2.imencode(".png", np.zeros((4000, 4000, 3), np.uint8), QUICKLY)[1].tobytes()


def recoded(image: bytes) -> bytes:
    """The same pixels in other bytes."""
    pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()


def with_gamma(image: bytes) -> bytes:
    """A PNG with a gAMA chunk after its header."""
    chunk = b"gAMA" + (100_000).to_bytes(4, "big")
    return image[:33] + (4).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + image[33:]


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
    "attributes": (change(attributes=("gender=men",)), "video_attributes", FIRST_REAL),
    "forged outside the forged periods": (video(1, fake_periods=((1.0, 2.0),)), "periods", FIRST_FAKE),
    "real in a forged sequence without times": (
        sequence(video(1, fake_periods=((1.0, 2.0),), content="frames"),
                 change(FIRST_FAKE, label=0, label_source="periods", mask_kind=MaskKind.ZEROS, mask_coverage=0.0,
                        mask=EMPTY)),
        "periods", FIRST_FAKE,
    ),
    "label by periods of a video without any": (change(FIRST_FAKE, label_source="periods"), "periods", FIRST_FAKE),
    "real within the forged periods": (
        sequence(video(1, fake_periods=((0.0, 2.0),)),
                 change(FIRST_FAKE, label=0, label_source="periods", mask_kind=MaskKind.ZEROS, mask_coverage=0.0,
                        mask=EMPTY)),
        "periods", FIRST_FAKE,
    ),
    "label of a real": (change(label=1, mask_kind=MaskKind.NONE, mask_coverage=None), "video_label", FIRST_REAL),
    "label of a fake": (
        change(FIRST_FAKE, label=0, label_source="video", mask_kind=MaskKind.ZEROS, mask_coverage=0.0, mask=EMPTY),
        "video_label", FIRST_FAKE,
    ),
    "label by no difference": (change(FIRST_FAKE, difference=None), "difference_label", FIRST_FAKE),
    "difference of a real": (change(difference=3.0), "difference_of", FIRST_REAL),
    "negative difference": (change(FIRST_FAKE, difference=-1.0), "difference", FIRST_FAKE),
    "huge difference": (change(FIRST_FAKE, difference=1e20), "difference", FIRST_FAKE),
    "forged by a difference of nothing": (change(FIRST_FAKE, difference=0.0), "difference_forged", FIRST_FAKE),
    "bytes after a picture's end": (picture(0, png(noise()) + b"x" * 5000), "image_plain", FIRST_REAL),
    "picture without its end": (picture(0, png(noise())[:-12]), "image_decodes", FIRST_REAL),
    "bytes after a mask's end": (change(FIRST_FAKE, mask=png(square_mask()) + b"x"), "mask_plain", FIRST_FAKE),
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
    "label by a mask that the recipe does not use": (
        sequence(recipe("mask", source="difference"), video(1, mask_path="masks/000_003.mp4"),
                 change(FIRST_FAKE, label_source="mask")), "ground_truth", FIRST_FAKE,
    ),
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
    "affine of the next frame": (
        sequence(recipe("crop", steady=True), change(
            FIRST_OTHER + 1, frame_index=1, pts_s=0.04, sample_id=f"{OTHER}-f000001-t0", affine=SHIFTED
        )), "affine_steady", FIRST_OTHER + 1,
    ),
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
    "picture of the original, encoded anew": (
        lambda parts: picture(FIRST_FAKE, recoded(parts.samples[FIRST_REAL].image))(parts), "pair_picture", FIRST_FAKE,
    ),
    "picture of another split, encoded anew": (
        lambda parts: picture(FIRST_OTHER, recoded(parts.samples[FIRST_REAL].image))(parts),
        "picture_split", FIRST_REAL,
    ),
    "picture with a gamma": (picture(0, with_gamma(png(noise()))), "image_plain", FIRST_REAL),
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


@pytest.mark.parametrize(("side", "check"), [(1200, "image_shape"), (1201, "image_decodes")])
def test_a_picture_is_decoded_up_to_twice_the_size_of_a_crop(side, check):
    encoded = cv2.imencode(".png", np.zeros((side, side, 3), np.uint8), QUICKLY)[1].tobytes()
    sample = replace(Parts().samples[FIRST_REAL], image=encoded)
    assert next(name for name, _ in ImageCheck(600, "png").faults(sample) if name != "image_sha256") == check


def test_periods_say_nothing_of_images_which_have_no_times(tmp_path):
    parts = Parts()
    video(1, fake_periods=((1.0, 2.0),), content="frames")(parts)
    assert not [problem for problem in verify(parts.write(tmp_path), threads=1).problems if problem.check == "periods"]


def test_faces_labelled_by_their_forged_periods_are_right(tmp_path):
    parts = Parts()
    unforged = {"label": 0, "label_source": "periods", "mask_kind": MaskKind.ZEROS, "mask_coverage": 0.0, "mask": EMPTY}
    sequence(video(1, fake_periods=((0.0, 0.03),)), change(FIRST_FAKE + 1, **unforged))(parts)
    change(FIRST_FAKE + 2, **unforged)(parts)
    assert verify(parts.write(tmp_path), threads=1).problems == ()
