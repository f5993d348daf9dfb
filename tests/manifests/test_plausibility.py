"""What verification warns of: each oddity by its name, and none of them in a dataset without it."""

import dataclasses
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from facemill.manifests.checks.framing import auc
from facemill.manifests.checks.verify import verify
from facemill.manifests.codes import MaskKind
from facemill.manifests.problem import Problem
from facemill.manifests.records import VideoEntry
from facemill.manifests.shards.croissant import croissant_metadata
from facemill.manifests.shards.dataset import read_dataset
from facemill.pipeline.commands.cli import app
from tests.manifests.small_dataset import SIZE, Parts, make_sample, make_videos, png

PAIRS = 16
ZOOM = SIZE / 104


def covered(rows: int) -> dict[str, object]:
    """A mask of so many rows of the crop, with its coverage."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    start = min(8, SIZE - rows)  # where the face box starts
    mask[start : start + rows] = 255
    return {"mask": png(mask), "mask_coverage": rows / SIZE}


@pytest.fixture
def parts() -> Parts:
    """Sixteen reals, each with a fake: two samples of each, the real's first. Masks of a fifth to a third."""
    real, fake = make_videos()[:2]
    videos: list[VideoEntry] = []
    for number in range(PAIRS):
        names = {"path": f"{number}.mp4", "subject_ids": (f"subject{number}",)}
        original = dataclasses.replace(real, video_id=f"real{number}", **names)
        names = {"path": f"{number}f.mp4", "subject_ids": (f"subject{number}",)}
        videos += [original, dataclasses.replace(fake, video_id=f"fake{number}", source_id=f"real{number}", **names)]
    parts = Parts(videos=videos, samples=[make_sample(video, frame) for video in videos for frame in (0, 12)])
    parts.failures.clear()
    parts.recipe["crop"] = {**parts.recipe["crop"]}
    for position in range(len(parts.samples)):
        if position % 4 > 1:
            parts.change(position, **covered(13 + position % 9))
    return parts


def warnings(parts: Parts, root: Path) -> list[Problem]:
    return list(verify(parts.write(root), threads=1).warnings)


def place(parts: Parts, number: int, **fields: object) -> None:
    """Change both samples of the real of a pair."""
    for position in (4 * number, 4 * number + 1):
        parts.change(position, **fields)


def test_nothing_is_odd_about_the_fixture(parts, tmp_path):
    assert warnings(parts, tmp_path) == []


def test_what_is_odd_fails_only_a_strict_verify(tmp_path):
    sound = Parts()
    fake = next(i for i, s in enumerate(sound.samples) if s.record.mask_kind is MaskKind.DIFFERENCE)
    sound.change(fake, **covered(SIZE))
    folder = sound.write(tmp_path)
    words = ["verify", str(folder)]
    lenient, strict = CliRunner().invoke(app, words), CliRunner().invoke(app, [*words, "--strict"])
    assert (lenient.exit_code, strict.exit_code) == (0, 3), lenient.output
    assert lenient.output == strict.output
    assert "0 problems, 1 warnings" in lenient.output


@pytest.mark.parametrize(("rows", "check", "what"), [(0, "empty_masks", "empty"), (SIZE, "full_masks", "full")])
def test_empty_and_full_masks(parts, tmp_path, rows, check, what):
    parts.change(6, **covered(rows))
    [problem] = [problem for problem in warnings(parts, tmp_path) if problem.check == check]
    assert problem.message == f"1 of 2 masks of the fake fake1 are {what}"


@pytest.mark.parametrize("kind", [MaskKind.UNRELIABLE, MaskKind.NONE])
def test_masks_that_nobody_trusts_may_be_empty(parts, tmp_path, kind):
    coverage = None if kind is MaskKind.NONE else 0.0
    parts.change(6, **{**covered(0), "mask_coverage": coverage}, mask_kind=kind)
    assert warnings(parts, tmp_path) == []


def test_a_mask_beside_the_face(parts, tmp_path):
    inverted = np.full((SIZE, SIZE), 255, np.uint8)
    inverted[8:56, 8:56] = 0
    parts.change(6, mask=png(inverted), mask_coverage=float((inverted == 255).mean()))
    [warning] = warnings(parts, tmp_path)
    assert (warning.check, warning.message) == (
        "masks_outside", "1 of 2 masks of the fake fake1 lie mostly outside of the face box"
    )  # fmt: skip


def test_a_video_in_two_shards(parts, tmp_path):
    parts.change(1, split="val")
    found = [warning for warning in warnings(parts, tmp_path) if warning.check == "video_shard"]
    assert [warning.message for warning in found] == ["1 of 2 samples of real0 are in another shard than its first"]


def test_an_image_that_shows_nothing(parts, tmp_path):
    image = png(np.full((SIZE, SIZE, 3), 7, np.uint8))
    parts.change(4, image=image, image_sha256=hashlib.sha256(image).hexdigest())
    told = {warning.check: warning.message for warning in warnings(parts, tmp_path)}
    assert told["blank_images"] == "1 of 2 images of real1 show nothing"


@pytest.mark.parametrize("format_name", ["parquet", "webdataset"])
def test_files_that_no_build_writes(tmp_path, format_name):
    root = Parts().write(tmp_path / "dataset", format_name)
    shard = next((root / "train").iterdir())
    shard.rename(tmp_path / "elsewhere")
    shard.symlink_to(tmp_path / "elsewhere")
    (root / "train/more").mkdir()
    for stray in ("extra.parquet", "train/.one.tmp", "train/more/train-000009.parquet"):
        (root / stray).write_bytes(b"x")
    samples = pq.read_table(root / "samples.parquet")
    pq.write_table(samples.append_column("wish", samples["row"]), root / "samples.parquet")
    (root / "croissant.json").write_text(croissant_metadata(read_dataset(root), root))
    (root / "elsewhere").symlink_to(tmp_path)
    report = verify(root, threads=1)
    assert report.ok, report.problems
    assert sorted((warning.check, warning.file) for warning in report.warnings) == [
        ("link", "elsewhere"), ("link", f"train/{shard.name}"), ("stray_column", "samples.parquet"),
        ("stray_file", "extra.parquet"), ("stray_file", "train/.one.tmp"),
        ("stray_file", "train/more/train-000009.parquet"),
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 60])
def test_coverage_far_from_the_methods_other_videos(parts, tmp_path, rows):
    for position in (10, 11):
        parts.change(position, **covered(rows))
    [problem] = warnings(parts, tmp_path)
    assert problem.check == "coverage_outlier"
    assert problem.message.startswith(
        f"the masks of video fake2 cover {rows / SIZE:.1%} of the crop, those of deepfakes "
    )


def test_a_method_whose_masks_are_nearly_empty(parts, tmp_path):
    for position in range(len(parts.samples)):
        if position % 4 > 1:
            mask = np.zeros((SIZE, SIZE), np.uint8)
            mask[0, :20] = 255
            parts.change(position, mask=png(mask), mask_coverage=20 / SIZE**2)
    [problem] = warnings(parts, tmp_path)
    assert problem.check == "faint_method"
    assert problem.message == "the masks of method deepfakes cover 0.49% of the crop in the median video"


def test_reals_that_are_fakes(parts, tmp_path):
    parts.videos[0] = dataclasses.replace(parts.videos[0], content_hash="xxh3:1", size_bytes=5)
    parts.videos[7] = dataclasses.replace(parts.videos[7], content_hash="xxh3:1", size_bytes=5)
    other = parts.samples[14]  # of fake 3
    parts.change(0, image=other.image, image_sha256=other.record.image_sha256)
    found = {problem.check: problem.message for problem in warnings(parts, tmp_path)}
    assert found["real_file_is_fake"] == "the file of the real video real0 is identical to that of a fake"
    assert found["real_is_fake"] == "1 of 2 images of the real real0 are identical to those of a fake"


def test_a_track_that_jumps_in_size(parts, tmp_path):
    parts.change(1, bbox=(120.0, 70.0, 158.0, 108.0))
    found = {problem.check: problem for problem in warnings(parts, tmp_path)}
    assert found["size_jump"].message == "from frame 0 of its track to this one the face grows or shrinks 2.1-fold"
    assert found["size_jump"].sample_id == "real0-f000012-t0"


def test_a_track_that_jumps_in_appearance(parts, tmp_path):
    """Another person's picture stands in the track."""
    other = make_sample(dataclasses.replace(parts.videos[0], video_id="somebody"), 0)
    parts.change(1, image=other.image, image_sha256=other.record.image_sha256)
    [problem] = warnings(parts, tmp_path)
    assert problem.check == "appearance_jump"
    assert (problem.sample_id, problem.row) == ("real0-f000012-t0", 1)


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("the size of the crop in faces", {"affine": (ZOOM / 2, 0.0, 32 - 70 * ZOOM, 0.0, ZOOM / 2, 32 - 45 * ZOOM)}),
        ("the face's horizontal place in the crop", {"affine": (ZOOM, 0.0, -90 * ZOOM, 0.0, ZOOM, -38 * ZOOM)}),
        ("the face's vertical place in the crop", {"affine": (ZOOM, 0.0, -88 * ZOOM, 0.0, ZOOM, -36 * ZOOM)}),
    ],
)
def test_framing_that_gives_the_label_away_is_a_fault(parts, tmp_path, what, fields):
    parts.recipe["crop"]["around"] = "mask"  # else such an affine is a fault by itself
    for number in range(12):  # of sixteen: an AUC of 0.875 or 0.125
        place(parts, number, **fields)
    folder = parts.write(tmp_path)
    found = [problem for problem in verify(folder, threads=1).problems if problem.check == "framing_tells"]
    [message] = [problem.message for problem in found if what in problem.message]
    assert message.startswith(f"{what} predicts fakes in train: AUC 0.")
    ended = CliRunner().invoke(app, ["verify", str(folder)])
    assert ended.exit_code == 3, ended.output


def test_framing_on_either_side_of_the_middle_gives_the_label_away(parts, tmp_path):
    """Reals left and right of the middle: their mean place is that of the fakes."""
    parts.recipe["crop"]["around"] = "mask"
    for number in range(PAIRS):
        place(parts, number, affine=(ZOOM, 0.0, (-90, -86)[number % 2] * ZOOM, 0.0, ZOOM, -38 * ZOOM))
    found = [p.message for p in verify(parts.write(tmp_path), threads=1).problems if p.check == "framing_tells"]
    assert found == ["the face's distance from the crop's centre predicts fakes in train: AUC 0.00, outside 0.5 ± 0.31"]


def test_framing_counts_by_video_and_not_by_frame(parts, tmp_path):
    """One real of many samples, framed by itself: an AUC over samples would be 0.75."""
    parts.recipe["crop"]["around"] = "mask"
    template = parts.videos[0]
    for frame in range(24, 24 + 12 * 32, 12):
        parts.samples.insert(2, make_sample(template, frame))
    for position in range(34):
        parts.change(position, affine=(ZOOM, 0.0, -90 * ZOOM, 0.0, ZOOM, -38 * ZOOM))
    assert "framing_tells" not in {p.check for p in verify(parts.write(tmp_path), threads=1).problems}


def test_faces_cut_out_by_landmarks_lie_as_they_are_turned_which_is_a_warning(parts, tmp_path):
    parts.recipe["crop"]["align"] = "similarity"
    for number in range(12):
        place(parts, number, affine=(ZOOM, 0.0, -90 * ZOOM, 0.0, ZOOM, -38 * ZOOM))
    report = verify(parts.write(tmp_path), threads=1)
    assert "framing_tells" not in {problem.check for problem in report.problems}
    assert "geometry_tells" in {problem.check for problem in report.warnings}


def test_face_size_that_gives_the_label_away_is_a_warning(parts, tmp_path):
    for number in range(12):
        place(parts, number, bbox=(95.0, 45.0, 185.0, 135.0))
    [found] = [problem for problem in warnings(parts, tmp_path) if problem.check == "geometry_tells"]
    assert found.message.startswith("the size of the face predicts deepfakes in train: AUC 0.")


def test_geometry_of_a_few_videos_gives_nothing_away(parts, tmp_path):
    """Three of sixteen: an AUC of 0.59, within what chance does."""
    for number in range(3):
        place(parts, number, bbox=(95.0, 45.0, 185.0, 135.0))
    assert "geometry_tells" not in {problem.check for problem in warnings(parts, tmp_path)}


@pytest.mark.parametrize(("pairs", "levels", "told"), [(PAIRS, 5, True), (PAIRS, 2, False), (PAIRS // 2, 9, False)])
def test_colours_that_give_the_label_away(parts, tmp_path, pairs, levels, told):
    """Fakes that are their originals but for some levels of green everywhere, as of another matrix."""
    for number in range(PAIRS):
        for position in (4 * number, 4 * number + 1):
            picture = cv2.imdecode(np.frombuffer(parts.samples[position].image, np.uint8), cv2.IMREAD_COLOR_RGB)
            picture = picture // 2 + 40
            shifted = picture + np.uint8([0, levels if number < pairs else 0, 0])
            parts.change(position, image=png(picture))
            parts.change(position + 2, image=png(shifted))
    messages = [problem.message for problem in warnings(parts, tmp_path) if problem.check == "colour_tells"]
    wanted = f"edges of crops of deepfakes differ by +{levels}.0 levels of green from their originals"
    assert messages == ([wanted] if told else [])


def test_auc_counts_pairs_of_positives_and_negatives():
    rng = np.random.default_rng(1)
    values, positive = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
    wins = [float(np.sign(p - n) + 1) / 2 for p in values[positive] for n in values[~positive]]
    assert auc(values, positive) == pytest.approx(np.mean(wins))


def test_a_problem_names_its_place() -> None:
    assert str(Problem("a.parquet", "it is broken")) == "a.parquet: it is broken."
    whole = Problem("a.parquet", "it is broken", row=0, sample_id="v-f0", more=2)
    assert str(whole) == "a.parquet, row 0 (v-f0): it is broken, and 2 more like this."
