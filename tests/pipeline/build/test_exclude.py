"""Builds that leave out videos and samples."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from facemill.manifests import write_videos
from facemill.manifests.checks.verify import verify
from facemill.manifests.shards.dataset import read_dataset
from facemill.pipeline.commands.cli import app
from facemill.pipeline.data.split import open_split
from tests.pipeline.build.test_shard import BIG, FRAMES, SMALL, AddVideo
from tests.pipeline.conftest import film

pytestmark = pytest.mark.usefixtures("mark_detector")
SETTINGS = [part for key in ("crop.size=96", "sample.frames=3") for part in ("--set", key)]


@pytest.fixture
def folder(add_video: AddVideo, tmp_path: Path) -> Path:
    videos = [add_video("r", film([BIG], FRAMES)), add_video("lone", film([BIG], FRAMES, seed=1))]
    videos += [add_video(name, film([BIG], FRAMES, forged=0), 1, source_id="r") for name in ("f", "g")]
    write_videos(videos, tmp_path / "videos.parquet")
    return tmp_path


def build(folder: Path, out: str, *ids: str, more: Sequence[str] = ()) -> Result:
    (folder / "ids.txt").write_text("\n".join(ids))
    listed = ["--exclude", str(folder / "ids.txt")] if ids else []
    given = ["build", str(folder / "videos.parquet"), "--out", str(folder / out), "--quiet", *SETTINGS, *listed]
    return CliRunner().invoke(app, [*given, *more, "--executor", "sequential"])


def samples(folder: Path) -> dict[str, str]:
    table = pq.read_table(folder / "samples.parquet", columns=["sample_id", "image_sha256"])
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_what_is_excluded_is_recorded_and_the_rest_is_as_before(folder: Path) -> None:
    assert build(folder, "whole").exit_code == 0
    whole = samples(folder / "whole")
    one = sorted(name for name in whole if name.startswith("f-"))[1]
    done = build(folder, "out", "r", "lone", one)
    assert done.exit_code == 0, done.output  # what was excluded is no failure
    assert "5 samples of 2 videos" in done.output
    assert "2 videos excluded" in done.output
    kept = {name: digest for name, digest in whole.items() if name[0] in "fg" and name != one}
    assert samples(folder / "out") == kept
    failures = pq.read_table(folder / "out" / "failures.parquet").to_pylist()
    told = {(row["video_id"], row["reason"], row["frames"]) for row in failures}
    assert told == {("r", "excluded", 0), ("lone", "excluded", 0), ("f", "excluded", 1)}
    assert read_dataset(folder / "out").recipe["filter"]["exclude"] == sorted(["r", "lone", one])
    assert verify(folder / "out").problems == ()
    assert len(open_split(folder / "out", "train", exclude=folder / "ids.txt")) == 5  # the list still fits


def test_one_face_of_a_frame_and_an_originals_sample(add_video: AddVideo, tmp_path: Path) -> None:
    real = add_video("r", film([BIG, SMALL], FRAMES))
    fake = add_video("f", film([BIG, SMALL], FRAMES, forged=0), 1, source_id="r")
    write_videos([real, fake], tmp_path / "videos.parquet")
    assert build(tmp_path, "whole").exit_code == 0
    first = sorted(name for name in samples(tmp_path / "whole") if name.startswith("r-"))[0]
    assert build(tmp_path, "out", first).exit_code == 0
    assert samples(tmp_path / "whole").keys() - samples(tmp_path / "out").keys() == {first}
    assert verify(tmp_path / "out").problems == ()


def test_crops_around_masks_stay_equal_for_reals_and_fakes(folder: Path) -> None:
    """A real without fakes could only be framed otherwise than the others."""
    around = ["--set", "crop.around=mask"]
    assert build(folder, "out", "lone", more=around).exit_code == 0
    assert read_dataset(folder / "out").notes == ()
    assert build(folder, "both", "lone", "f", "g", more=around).exit_code == 0
    [note] = read_dataset(folder / "both").notes
    assert "All crops are around faces" in note


def test_another_list_is_another_build(folder: Path) -> None:
    assert build(folder, "out", "lone").exit_code == 0
    other = build(folder, "out")
    assert other.exit_code != 0
    assert "filter.exclude" in str(other.exception)
    assert build(folder, "out", "lone").exit_code == 0


def test_unknown_ids_end_the_build_before_it_begins(folder: Path) -> None:
    ended = build(folder, "out", "lone", "r-f000001-t0", "x-f000001-t0", "y")
    assert "2 excluded ids are of no video or sample of the manifest (x-f000001-t0, y)" in str(ended.exception)
    assert not (folder / "out" / "videos.parquet").exists()
