"""Crops around masks: of all videos of a dataset or of none, so that framing does not tell reals from fakes."""

from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facemill import ConfigError
from facemill.manifests import REFERENCE, ClipGroup, VideoEntry
from facemill.manifests.checks.verify import verify
from facemill.manifests.shards.dataset import read_dataset
from facemill.pipeline.build.job import build, finish_build
from facemill.pipeline.build.plan import plan_framing
from facemill.pipeline.config.recipe import load_recipe
from tests.integration.command import content
from tests.pipeline.build.test_shard import BIG, FRAMES, SMALL, AddVideo
from tests.pipeline.conftest import Told, film

pytestmark = pytest.mark.usefixtures("mark_detector")

RECIPE = load_recipe("default", ["crop.size=96", "sample.frames=3", "crop.around=mask", "crop.scale=2.6"])


def pairs(add_video: AddVideo, count: int, **real: object) -> list[VideoEntry]:
    """Originals and a fake of each."""
    entries = []
    for n in range(count):
        entries.append(add_video(f"real{n}", film([BIG], FRAMES, seed=n), **real))
        entries.append(add_video(f"fake{n}", film([BIG], FRAMES, forged=0, seed=n), 1, source_id=f"real{n}"))
    return entries


def crops_in_faces(out: Path) -> dict[str, set[float]]:
    """Side of the crops in sides of the face box, by video."""
    found: dict[str, set[float]] = defaultdict(set)
    for row in pq.read_table(out / "samples.parquet").to_pylist():
        x1, y1, x2, y2 = row["bbox"]
        found[row["video_id"]].add(round(96 / row["affine"][0] / max(x2 - x1, y2 - y1), 2))
    return dict(found)


@pytest.mark.heavy
def test_reals_without_fakes_have_all_cropped_around_faces(add_video: AddVideo, tmp_path: Path) -> None:
    """Fakes with masks from originals that yield no samples, and reals without fakes."""
    videos = pairs(add_video, 5, split=REFERENCE)
    videos += [add_video(f"alone{n}", film([BIG], FRAMES, seed=20 + n)) for n in range(5)]
    told = Told()
    build(videos, RECIPE, tmp_path / "out", executor="sequential", watcher=told)
    assert [problem.message for problem in verify(tmp_path / "out").problems] == []
    ratios = crops_in_faces(tmp_path / "out")
    assert len(ratios) == 10
    assert set.union(*ratios.values()) == {2.6}
    info = read_dataset(tmp_path / "out")
    assert info.recipe["crop"]["around"] == "face"
    [line] = told.lines
    assert line.startswith("All crops are around faces instead of masks: 10 videos, alone0 among them, are not sampled")
    assert info.notes == (line,)
    for part in (2, 1):
        build(videos, RECIPE, tmp_path / "parts", executor="sequential", part=(part, 2))
    finish_build(videos, RECIPE, tmp_path / "parts")
    assert content(tmp_path / "parts") == content(tmp_path / "out")


def test_what_no_mask_is_found_for_gives_no_samples_beside_crops_around_masks(
    add_video: AddVideo, tmp_path: Path
) -> None:
    """A fake of something else, one of another shape, one that equals its original, and a face that is not forged."""
    videos = pairs(add_video, 2)
    for name, frames in {
        "other": film([SMALL], FRAMES, forged=0, seed=90),
        "narrow": film([BIG], FRAMES, forged=0, seed=30)[:, :, :200],
        "equal": film([BIG], FRAMES, seed=30),
    }.items():
        videos.append(add_video(f"of-{name}", film([BIG], FRAMES, seed=30)))
        videos.append(add_video(name, frames, 1, source_id=f"of-{name}"))
    both = [BIG, SMALL]
    videos.append(add_video("crowd", film(both, FRAMES, seed=40)))
    videos.append(add_video("crowded", film(both, FRAMES, forged=0, seed=40), 1, source_id="crowd"))
    told = Told()
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=3", "crop.around=mask", "track.keep=all"])
    build(videos, recipe, tmp_path / "out", executor="sequential", watcher=told)
    assert told.lines == []
    ratios = crops_in_faces(tmp_path / "out")
    assert set(ratios) == {"real0", "fake0", "real1", "fake1", "crowd", "crowded"}
    assert max(map(max, ratios.values())) < 1.0  # the forged half of a face, 1.3 times
    assert {max(found) - min(found) < 0.05 for found in ratios.values()} == {True}, ratios
    failures = pq.read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    reasons = {(row["video_id"], row["reason"]) for row in failures}
    without = {"of-other", "of-narrow", "of-equal", "other", "narrow"}
    assert {(video, "no_forged_region") for video in without} <= reasons
    assert ("equal", "unforged") in reasons
    assert verify(tmp_path / "out").problems == ()


def test_a_video_added_later_does_not_change_the_framing_of_a_dataset(add_video: AddVideo, tmp_path: Path) -> None:
    videos, out = pairs(add_video, 2), tmp_path / "out"
    build(videos, RECIPE, out, executor="sequential")
    before = content(out)
    videos.append(add_video("alone", film([BIG], FRAMES, seed=20)))
    with pytest.raises(ConfigError, match=r"another recipe \(crop.around mask instead of face\)"):
        build(videos, RECIPE, out, executor="sequential")
    assert content(out) == before


def test_which_groups_have_masks() -> None:
    def entry(name: str, label: int, split: str = "train", path: str = "a.mp4") -> VideoEntry:
        how = "swap" if label else "real"
        return VideoEntry(name, "stage", how, label, "native", split, "data", path, "real" if label else None)

    real, fake = entry("real", 0), entry("fake", 1)
    whole = ClipGroup(real, (fake,))
    assert plan_framing([whole], RECIPE) == (RECIPE, ())
    around_faces = load_recipe("default")
    assert plan_framing([ClipGroup(real)], around_faces) == (around_faces, ())
    for other in (
        ClipGroup(real),
        ClipGroup(None, (fake,)),
        ClipGroup(entry("real", 0, REFERENCE), (fake,)),
        ClipGroup(entry("real", 0, "val"), (fake,)),
        ClipGroup(entry("real", 0, path="frames"), (fake,)),
    ):
        recipe, notes = plan_framing([whole, other], RECIPE)
        assert (recipe.crop.around, recipe.crop.scale, len(notes)) == ("face", 2.6, 1)
