"""Videos and frames in archives are built like those in folders."""

import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest

from facemill.manifests import ClipGroup, FailureRecord, Reason, Stage, VideoEntry, archives
from facemill.manifests.scanning.contents import find_changed, read_contents, size_of
from facemill.manifests.shards import EncodedSample, format_of
from facemill.pipeline.build.plan import BuildJob, ShardSpec, plan_shards
from facemill.pipeline.build.shard import build_shard
from facemill.pipeline.config.recipe import load_recipe
from tests.conftest import encode_video
from tests.manifests.dataset_trees import write_archive, write_zip
from tests.pipeline.clips.test_full_frames import unpack
from tests.pipeline.conftest import Actor, film

pytestmark = pytest.mark.usefixtures("mark_detector")

LEFT, RIGHT = Actor(20, 60, side=110, dx=1), Actor(200, 90, side=80, dy=1)
Writer = Callable[[Path, dict[str, bytes]], None]
ARCHIVES: dict[str, Writer] = {
    "stored.zip": lambda path, members: write_zip(path, members, zipfile.ZIP_STORED),
    "deflated.zip": write_zip,
    "plain.tar": lambda path, members: write_archive(path, members, "w"),
    "packed.tar.gz": write_archive,
}
LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("deflated.zip", "plain.tar")]
ALL_KINDS = pytest.mark.parametrize("name", ["stored.zip", "packed.tar.gz", *LONG])


@pytest.fixture
def pair(add_video: Callable[..., VideoEntry]) -> ClipGroup:
    """A real video of two people and a fake in which the second is forged."""
    real = add_video("real", film([LEFT, RIGHT], 16))
    return ClipGroup(real, (add_video("fake", film([LEFT, RIGHT], 16, forged=1), 1, source_id="real"),))


def pack(group: ClipGroup, archive: Path) -> ClipGroup:
    """The group's videos or folders of frames in an archive; their root is its folder."""
    members = {}
    for video in group.videos():
        place = Path(video.root, video.path)
        for path in [place] if place.is_file() else sorted(place.iterdir()):
            members[f"part_0/{path.relative_to(video.root)}"] = path.read_bytes()
    ARCHIVES[archive.name](archive, members)
    real, *fakes = (
        replace(video, root=str(archive.parent), path=f"{archive.name}/part_0/{video.path}") for video in group.videos()
    )
    return ClipGroup(real, tuple(fakes))


def build(out: Path, *groups: ClipGroup) -> tuple[list[EncodedSample], tuple[FailureRecord, ...]]:
    recipe = load_recipe("default", ["crop.size=96", "sample.frames=8", "track.keep=all"])
    result = build_shard(ShardSpec("train-000000", "train", groups), BuildJob(out, recipe))
    samples = list(format_of(result.shard.path).read(out / result.shard.path)) if result.shard is not None else []
    return samples, result.failures


@ALL_KINDS
@pytest.mark.parametrize("unpacked", [False, True], ids=["videos", "frames"])
def test_samples_are_those_of_unpacked_files(
    pair: ClipGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, unpacked: bool
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    if unpacked:
        pair = ClipGroup(unpack(pair.real), (unpack(pair.fakes[0]),))
    samples, failures = build(tmp_path / "out", pair)
    found, lost = build(tmp_path / "packed", pack(pair, tmp_path / "archives" / name))
    assert len(samples) == 8 * 3  # the one who is not forged gives none in the fake
    assert found == samples
    assert lost == failures
    assert list((tmp_path / "temporary").iterdir()) == []


def test_samples_of_a_remote_archive_are_those_of_unpacked_files(pair: ClipGroup, tmp_path: Path) -> None:
    packed = pack(pair, tmp_path / "deflated.zip")
    with fsspec.open(f"memory://{tmp_path.name}/deflated.zip", "wb") as file:
        file.write((tmp_path / "deflated.zip").read_bytes())
    real, fake = (replace(video, root=f"memory://{tmp_path.name}") for video in packed.videos())
    assert build(tmp_path / "packed", ClipGroup(real, (fake,)))[0] == build(tmp_path / "out", pair)[0]
    contents = read_contents([*pair.videos()])
    assert read_contents([real, fake]) == contents


@ALL_KINDS
def test_contents_of_members_are_those_of_files(pair: ClipGroup, tmp_path: Path, name: str) -> None:
    frames = ClipGroup(unpack(pair.real), (unpack(pair.fakes[0]),))
    for number, group in enumerate((pair, frames)):
        packed = pack(group, tmp_path / str(number) / name)
        contents = read_contents([*group.videos()])
        assert None not in contents
        assert read_contents([*packed.videos()]) == contents
        assert [size_of(video) for video in packed.videos()] == [size_of(video) for video in group.videos()]
        hashed = [
            replace(video, size_bytes=content.size, content_hash=content.hash)
            for video, content in zip(packed.videos(), contents, strict=True)
            if content is not None
        ]
        assert find_changed(hashed) == []


def hurt(archive: Path, content: bytes) -> None:
    """Change a byte in the middle of a stored member."""
    data = bytearray(archive.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 0xFF
    archive.write_bytes(data)


def test_a_damaged_member_is_the_failure_of_its_video(pair: ClipGroup, tmp_path: Path) -> None:
    packed = pack(pair, tmp_path / "stored.zip")
    fake = packed.fakes[0]
    hurt(tmp_path / "stored.zip", Path(pair.fakes[0].root, pair.fakes[0].path).read_bytes())
    gone = replace(pair.real, video_id="gone", root=fake.root, path="stored.zip/part_0/gone.mp4")
    samples, failures = build(tmp_path / "out", packed, ClipGroup(gone))
    assert {sample.record.video_id for sample in samples} == {"real"}
    assert [(f.video_id, f.stage, f.reason) for f in failures] == [
        ("fake", Stage.DECODE, Reason.UNREADABLE),
        ("gone", Stage.DECODE, Reason.MISSING_FILE),
    ]
    assert "download its archive again" in failures[0].message
    assert [content is None for content in read_contents([packed.real, fake, gone])] == [False, True, True]


def test_a_damaged_image_of_a_sequence_is_a_frame_without_image(pair: ClipGroup, tmp_path: Path) -> None:
    frames = ClipGroup(unpack(pair.real))
    packed = pack(frames, tmp_path / "stored.zip")
    hurt(tmp_path / "stored.zip", Path(pair.real.root, "real-frames", "v2_0000.png").read_bytes())
    samples, failures = build(tmp_path / "out", packed)
    assert len(samples) == 2 * 7
    assert [(f.video_id, f.reason, f.frames) for f in failures] == [("real", Reason.TRUNCATED, 1)]
    assert read_contents([*packed.videos()]) == [None]


@pytest.mark.parametrize(
    ("how", "reason", "words"),
    [
        ("halved", Reason.UNREADABLE, "damaged or not an archive"),
        ("missing", Reason.MISSING_FILE, "No such file"),
        ("bomb", Reason.UNREADABLE, "expands to more than 100 times"),
        ("twice", Reason.UNREADABLE, "two members"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_damaged_archive_is_the_failure_of_its_videos(
    pair: ClipGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, reason: Reason, words: str
) -> None:
    packed = pack(pair, tmp_path / "deflated.zip")
    path = tmp_path / "deflated.zip"
    other = replace(pair.real, video_id="other")
    if how == "halved":
        path.write_bytes(path.read_bytes()[:-50])
    elif how == "missing":
        path.unlink()
    else:
        monkeypatch.setattr(archives, "FREE_BYTES", 1_000)
        more = {"bomb": ("zeros.mp4", 100_000_000), "twice": ("real.mp4", 0)}[how]
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"part_0/{more[0]}", bytes(more[1]))
    samples, failures = build(tmp_path / "out", packed, ClipGroup(other))
    assert {sample.record.video_id for sample in samples} == {"other"}
    assert [(f.video_id, f.reason) for f in failures] == [("real", reason), ("fake", reason)]
    assert all(words in failure.message for failure in failures)


def test_a_full_disk_is_no_fault_of_the_archive(
    pair: ClipGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    packed = pack(pair, tmp_path / "stored.zip")
    monkeypatch.setattr("facemill.pipeline.clips.opening.shutil.copyfileobj", full)
    _, failures = build(tmp_path / "out", packed)
    assert {failure.reason for failure in failures} == {Reason.SYSTEM_ERROR}


def test_an_archive_is_no_reason_for_another_plan_unless_it_can_only_be_read_from_its_start(pair: ClipGroup) -> None:
    recipe = load_recipe("default", [])
    groups = [ClipGroup(replace(pair.real, video_id=f"v{n}")) for n in range(200)]

    def planned(path: str) -> list[list[str]]:
        packed = [ClipGroup(replace(group.real, path=path.format(n % 2, n))) for n, group in enumerate(groups)]
        return [[group.group_id for group in spec.groups] for spec in plan_shards(packed, recipe)]

    assert planned("{}.zip/{}.mp4") == planned("{}.tar/{}.mp4") == planned("{}/{}.mp4") != planned("{}.tar.gz/{}.mp4")


def test_a_single_image_in_an_archive_is_a_video_of_one_frame(tmp_path: Path) -> None:
    encode_video(tmp_path / "one.png", film([LEFT], 1), codec="png", pix_fmt="rgb24", update="1")
    write_zip(tmp_path / "photos.zip", {"real/one.png": (tmp_path / "one.png").read_bytes()})
    one = VideoEntry("one", "photos", "real", 0, "native", "train", str(tmp_path), "photos.zip/real/one.png")
    [sample], _ = build(tmp_path / "out", ClipGroup(one))
    [unpacked], _ = build(tmp_path / "again", ClipGroup(replace(one, path="one.png")))
    assert sample == unpacked
