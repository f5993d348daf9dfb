"""A second run of a shard: faults of the environment are retried, and good samples are never lost."""

import dataclasses
import errno
import io
import json
import os
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facemill import ClusterError, ManifestError, VideoError
from facemill.manifests import ClipGroup, Reason
from facemill.manifests.checks.verify import verify
from facemill.manifests.shards import format_of
from facemill.pipeline.build import earlier, state
from facemill.pipeline.build import shard as module
from facemill.pipeline.build.job import build
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.run_folder import holding, put_away, run_folder
from facemill.pipeline.build.state import ShardFile, ShardResult
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.extract.result import DeviceUse
from tests.pipeline.build.test_shard import BIG, AddVideo, pair, reasons, run, samples
from tests.pipeline.conftest import MarkDetector, film

RECIPE = load_recipe("default", ["crop.size=96", "sample.frames=6"])

pytestmark = pytest.mark.usefixtures("mark_detector")


@pytest.fixture
def groups(add_video: AddVideo) -> list[ClipGroup]:
    """A real with its fake, and two lone videos."""
    return [
        pair(add_video),
        *(ClipGroup(add_video(name, film([BIG], 12, seed=n))) for n, name in enumerate(("left", "right"), 1)),
    ]


FILES = ("shard", "samples", "faces", "facts")


def counts(out: Path, result: ShardResult) -> Counter[str]:
    return Counter(sample.record.video_id for sample in samples(out, result))


def moved(tmp_path: Path, name: str) -> Path:
    """Take a video away; rename the returned path to bring it back."""
    return (tmp_path / "data" / f"{name}.mp4").rename(tmp_path / f"{name}.mp4")


def damage(path: Path, sample_bytes: bytes) -> None:
    """Flip a byte in the midst of a picture."""
    data = bytearray(path.read_bytes())
    data[data.index(sample_bytes) + len(sample_bytes) // 2] ^= 1
    path.write_bytes(data)


def test_a_missing_file_is_tried_again_and_only_its_group_is_processed(
    groups: list[ClipGroup], tmp_path: Path, mark_detector: MarkDetector
) -> None:
    whole = run(tmp_path / "whole", *groups)
    away = moved(tmp_path, "left")
    first = run(tmp_path / "out", *groups)
    assert [(f.video_id, f.reason, f.retryable) for f in first.failures] == [("left", Reason.MISSING_FILE, True)]
    assert not first.is_final(tmp_path / "out")
    away.rename(tmp_path / "data" / "left.mp4")
    seen = mark_detector.frames_seen
    second = run(tmp_path / "out", *groups)
    assert mark_detector.frames_seen == seen + 6
    assert second.failures == ()
    assert (second.shard, second.samples, second.faces) == (whole.shard, whole.samples, whole.faces)
    assert second.is_final(tmp_path / "out")


def test_a_file_that_is_no_video_is_tried_again_when_asked(
    groups: list[ClipGroup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = (tmp_path / "data" / "left.mp4").read_bytes()
    (tmp_path / "data" / "left.mp4").write_bytes(b"half a download")
    first = run(tmp_path / "out", *groups)
    assert reasons(first) == {"left": {Reason.UNREADABLE}}
    (tmp_path / "data" / "left.mp4").write_bytes(good)
    assert run(tmp_path / "out", *groups) == first
    assert run(tmp_path / "out", *groups, retry_failed=True).failures == ()


def test_what_the_second_run_cannot_read_any_more_stays(groups: list[ClipGroup], tmp_path: Path) -> None:
    away = moved(tmp_path, "left")
    run(tmp_path / "out", *groups)
    away.rename(tmp_path / "data" / "left.mp4")
    moved(tmp_path, "real")
    moved(tmp_path, "right")
    second = run(tmp_path / "out", *groups)
    assert counts(tmp_path / "out", second) == dict.fromkeys(("real", "fake", "left", "right"), 6)
    assert second.failures == ()


@pytest.mark.parametrize("shard_format", ["parquet", "webdataset"])
def test_of_a_damaged_shard_whose_sources_are_gone_the_good_samples_stay(
    groups: list[ClipGroup], tmp_path: Path, shard_format: str
) -> None:
    sets, out = [f"shards.format={shard_format}"], tmp_path / "out"
    whole = run(out, *groups, sets=sets)
    intact = (out / whole.shard.path).read_bytes()
    hit = samples(out, whole)[-2]
    assert hit.record.video_id == "right"
    damage(out / whole.shard.path, hit.image)
    aways = {name: moved(tmp_path, name) for name in ("real", "fake", "left", "right")}
    left = run(out, *groups, sets=sets)
    assert counts(out, left) == {"real": 6, "fake": 6, "left": 6, "right": 5}
    assert [(f.video_id, f.reason, f.frames) for f in left.failures] == [("right", Reason.MISSING_FILE, 1)]
    assert "1 samples of an earlier run are damaged, 5 are kept" in left.failures[0].message
    assert run(out, *groups, sets=sets) == left  # and nothing more is lost
    for name, away in aways.items():
        away.rename(tmp_path / "data" / f"{name}.mp4")
    again = run(out, *groups, sets=sets)
    assert again.failures == ()
    assert (out / again.shard.path).read_bytes() == intact


@pytest.mark.parametrize(("shard_format", "share", "kept"), [("parquet", 0.99, 24), ("webdataset", 0.5, 11)])
def test_of_a_shard_that_was_cut_every_whole_sample_stays(
    groups: list[ClipGroup], tmp_path: Path, shard_format: str, share: float, kept: int
) -> None:
    """Parquet's table of contents is at the end of the file."""
    sets, out = [f"shards.format={shard_format}"], tmp_path / "out"
    whole = run(out, *groups, sets=sets)
    path = out / whole.shard.path
    before = [sample.image for sample in samples(out, whole)]
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))
    for name in ("real", "fake", "left", "right"):
        moved(tmp_path, name)
    after = [sample.image for sample in samples(out, run(out, *groups, sets=sets))]
    assert len(after) >= kept
    assert after == before[: len(after)]


def test_of_a_shard_with_a_bad_sector_the_samples_beside_it_stay(groups: list[ClipGroup], tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = run(out, *groups)
    path, before = out / whole.shard.path, [sample.image for sample in samples(out, whole)]
    bad = path.read_bytes().index(before[2])

    class Disk(io.FileIO):
        def read(self, size: int = -1, /) -> bytes:
            if self.tell() <= bad < self.tell() + size:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    with Disk(path) as file:
        kept = [sample.image for sample in earlier._samples_at(file, pq.read_table(out / whole.samples.path))]
    assert kept == [*before[:2], b"", *before[3:]]


def test_a_lost_sample_of_an_original_is_recorded_and_its_fakes_stay(groups: list[ClipGroup], tmp_path: Path) -> None:
    out, videos = tmp_path / "out", list(groups[0].videos())
    build(videos, RECIPE, out, executor="sequential")
    [path] = (out / "train").iterdir()
    hit = next(format_of(path).read(path))
    assert hit.record.video_id == "real"
    damage(path, hit.image)
    moved(tmp_path, "real")
    moved(tmp_path, "fake")
    assert build(videos, RECIPE, out, executor="sequential").samples == 11
    assert verify(out, threads=1).problems == ()


def test_a_damaged_table_is_made_again(groups: list[ClipGroup], tmp_path: Path) -> None:
    whole = run(tmp_path / "out", *groups)
    for table in (whole.samples, whole.faces, whole.facts):
        (tmp_path / "out" / table.path).write_bytes(b"rubbish")
        assert run(tmp_path / "out", *groups) == whole_but_for_timings(whole, tmp_path / "out")


@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_a_result_is_not_waited_for(groups: list[ClipGroup], tmp_path: Path) -> None:
    whole = run(tmp_path / "out", groups[1])
    (tmp_path / "out" / "_state" / "train-000000.json").unlink()
    os.mkfifo(tmp_path / "out" / "_state" / "train-000000.json")
    assert run(tmp_path / "out", groups[1]) == whole_but_for_timings(whole, tmp_path / "out")


def test_a_resume_looks_at_sizes_and_last_bytes_and_a_finished_build_is_looked_at_whole(
    groups: list[ClipGroup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    result = run(out, *groups)
    path = out / result.shard.path
    whole = path.read_bytes()
    monkeypatch.setattr("facemill.manifests.storage.FOOTER_BYTES", 1000)
    result = dataclasses.replace(
        result, **{name: ShardFile.of(out, getattr(result, name).path, getattr(result, name).rows) for name in FILES}
    )
    assert result.is_whole(out, thorough=False)
    path.write_bytes(bytes([whole[0], whole[1] ^ 1]) + whole[2:])
    assert result.is_whole(out, thorough=False)
    assert not result.is_whole(out)
    for damaged in (whole[:-1], whole + b"x", whole[:-999] + bytes([whole[-999] ^ 1]) + whole[-998:]):
        path.write_bytes(damaged)
        assert not result.is_whole(out, thorough=False)
    path.unlink()
    assert not result.is_whole(out, thorough=False)


def test_a_build_reads_no_shard_to_resume_and_every_one_to_mend(
    groups: list[ClipGroup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, videos = tmp_path / "out", [video for group in groups for video in group.videos()]
    build(videos, RECIPE, out, executor="sequential")
    hashed: list[str] = []
    sha256_of = state.sha256_of
    monkeypatch.setattr(state, "sha256_of", lambda path: hashed.append(path.suffix) or sha256_of(path))
    (out / "dataset.json").unlink()  # as if it were interrupted
    build(videos, RECIPE, out, executor="sequential")
    assert hashed == []
    build(videos, RECIPE, out, executor="sequential")
    assert hashed == [".parquet"] * 4


def whole_but_for_timings(result: ShardResult, out: Path) -> ShardResult:
    """The result with the times of the last run, and what all runs used the device for."""
    committed = json.loads((out / "_state" / f"{result.shard_id}.json").read_text())
    devices = {place: DeviceUse(**use) for place, use in committed["devices"].items()}
    return dataclasses.replace(result, timings=committed["timings"], devices=devices)


def test_dataset_json_goes_only_when_a_shard_is_replaced(groups: list[ClipGroup], tmp_path: Path) -> None:
    out = tmp_path / "out"
    away = moved(tmp_path, "left")
    result = run(out, *groups)
    (out / "dataset.json").write_text("{}")
    before = (out / result.shard.path).stat().st_mtime_ns
    run(out, *groups)  # the same failure again
    assert (out / "dataset.json").is_file()
    assert (out / result.shard.path).stat().st_mtime_ns == before
    away.rename(tmp_path / "data" / "left.mp4")
    run(out, *groups)
    assert not (out / "dataset.json").exists()


@pytest.mark.parametrize("where", ["process", "read"])
def test_running_out_of_memory_is_no_videos_fault(
    groups: list[ClipGroup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def hungry(*args: object, **options: object) -> Iterator[object]:
        raise MemoryError

    name = {
        "process": "facemill.pipeline.build.groups.process_clip",
        "read": "facemill.pipeline.clips.prefetch.open_clips",
    }[where]
    monkeypatch.setattr(name, hungry)
    result = run(tmp_path / "out", *groups)
    assert reasons(result) == {name: {Reason.OUT_OF_MEMORY} for name in ("real", "fake", "left", "right")}
    monkeypatch.undo()
    assert not result.is_final(tmp_path / "out")


def test_too_many_open_files_is_no_videos_fault(groups: list[ClipGroup], tmp_path: Path) -> None:
    from facemill.pipeline.decode import VideoReader

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as held:  # noqa: PTH123, its number tells how many files are open
        resource.setrlimit(resource.RLIMIT_NOFILE, (held.fileno() + 1, hard))
        try:
            with pytest.raises(VideoError) as caught:
                VideoReader(tmp_path / "data" / "left.mp4")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert caught.value.reason is Reason.SYSTEM_ERROR


def test_a_root_that_is_not_there_stops_the_work(groups: list[ClipGroup], tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "unmounted")
    with pytest.raises(ManifestError, match=r"The folder .*data of the videos does not exist: mount it"):
        run(tmp_path / "out", *groups)
    assert not list((tmp_path / "out").rglob("*.*"))


def test_work_ends_between_two_groups_when_the_run_is_over(groups: list[ClipGroup], tmp_path: Path) -> None:
    """As where the driver is gone, and another run has taken its place."""
    out = tmp_path / "out"
    done = []
    with holding(out, shared=False) as run:

        def stop_after_one(group: object) -> None:
            done.append(group)
            put_away(run_folder(out, run))

        spec = ShardSpec("train-000000", "train", tuple(groups))
        with pytest.raises(ClusterError, match="was stopped"):
            module.build_shard(spec, BuildJob(out, RECIPE, run=run), tell=stop_after_one)
    assert len(done) == 1
    assert not list(out.rglob("*.*"))
