"""Faults of tables, each with the check that finds it. A new kind of fault is a new row."""

import dataclasses
from collections.abc import Callable

import pytest

from facemill.manifests.checks.group_checks import GROUP_CHECKS
from facemill.manifests.checks.row_checks import ROW_CHECKS
from facemill.manifests.checks.verify import verify
from facemill.manifests.codes import MaskKind, Reason, Stage
from tests.manifests.checks.planting import (
    FIRST_FAKE,
    FIRST_OTHER,
    FIRST_REAL,
    REAL,
    change,
    face,
    fact,
    failure,
    recipe,
    same_picture,
    sequence,
    video,
)
from tests.manifests.checks.test_row_faults import EMPTY, ROW_FAULTS
from tests.manifests.small_dataset import Parts


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
    "sample dropped": (lambda parts: parts.samples.pop(FIRST_FAKE), "frames_accounted"),
    "sample of a single video dropped": (lambda parts: parts.samples.pop(FIRST_OTHER), "frames_accounted"),
    "facts: unknown alignment": (fact(1, alignment="magic"), "facts_alignment"),
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
    "faces: score below the recipe's": (face(0, scores=(0.5,)), "faces_min_score"),
    "faces: no key": (face(0, key=""), "faces_key"),
    "facts: a fake of another shape": (fact(1, width=400), "facts_aspect"),
    "failure without a message": (failure(message=" "), "failure_message"),
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
    assert not [str(problem) for problem in problems if "None" in problem.message]


@pytest.mark.parametrize("check", [check.name for check in (*ROW_CHECKS, *GROUP_CHECKS)])
def test_every_check_of_rows_has_its_fault(check):
    assert check in {name for _, name, *_ in (*ROW_FAULTS.values(), *TABLE_FAULTS.values())}
