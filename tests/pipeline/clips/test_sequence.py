"""Image sequences, in folders and in archives: read by index, and built into shards like videos."""

import struct
import tarfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from facemill import VideoError
from facemill.manifests import ClipGroup, MaskKind, Reason, Stage, VideoEntry, archives
from facemill.manifests.checks.sample_checks import ImageCheck
from facemill.manifests.shards import EncodedSample, format_of
from facemill.pipeline.build.plan import BuildJob, ShardSpec
from facemill.pipeline.build.shard import build_shard
from facemill.pipeline.build.state import ShardResult
from facemill.pipeline.clips.sampling import sample_frames
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.decode import SequenceReader, sequence
from facemill.pipeline.decode import sequence as module
from tests.manifests.dataset_trees import write_archive

SIZE = 224
NUMBERS = (20, 3, 100, 7, 1000, 8)
"""Of the pictures, in the order in which they are packed."""
IN_ORDER = sorted(NUMBERS)


def drawn(number: int, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    """An RGB picture that no other number has, smooth but for noise."""
    coarse = np.random.default_rng(number).integers(0, 255, (9, 9, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def pictures(numbers: Sequence[int] = NUMBERS) -> dict[str, bytes]:
    return {f"{number}.png": png(drawn(number)) for number in numbers}


def write_sequence(root: Path, path: str, members: dict[str, bytes]) -> str:
    """Write pictures into a folder, or with other sequences into an archive; returns `path`."""
    archive, suffix, inside = path.partition(".tar.gz/")
    if suffix:
        others = {f"{inside}{n}/5.png": png(drawn(n)) for n in (0, 1)}
        ordered = list({**others, **{f"./{inside}/{name}": data for name, data in members.items()}}.items())
        write_archive(root / f"{archive}.tar.gz", dict(ordered[1:] + ordered[:1]))  # ours is in the middle
    else:
        (root / path).mkdir(parents=True)
        for name, data in members.items():
            (root / path / name).write_bytes(data)
    return path


FOLDER, PACKED = "fake_train/0/fake/1", "fake_train/0.tar.gz/0/fake/1"
BOTH = pytest.mark.parametrize("path", [FOLDER, PACKED])


@BOTH
def test_pictures_are_frames_in_the_order_of_their_numbers(tmp_path: Path, path: str) -> None:
    more = {"readme.txt": b"x", "._3.png": b"x"}
    with SequenceReader(str(tmp_path), write_sequence(tmp_path, path, {**pictures(), **more})) as reader:
        assert (reader.info.frame_count, reader.info.width, reader.info.height) == (6, SIZE, SIZE)
        for _ in range(2):  # every read starts anew
            frames = list(reader.read(range(6)))
            assert [(frame.index, frame.pts_s) for frame in frames] == [(index, 0.0) for index in range(6)]
            for frame, number in zip(frames, IN_ORDER, strict=True):
                assert np.array_equal(frame.image, drawn(number))
        (last,) = reader.read([5])
        assert np.array_equal(last.image, drawn(1000))
        with pytest.raises(ValueError, match=r"0\.\.5"):
            reader.read([6])
        with pytest.raises(ValueError, match="ascend"):
            reader.read([2, 1])
    with pytest.raises(ValueError, match="closed"):
        reader.read([0])


def test_numbers_are_sorted_as_numbers_wherever_they_stand(tmp_path: Path) -> None:
    names = ["f1_02.PNG", "f1_009.png", "f1_10.jpg", "f2_1.png", "f10_0.png", "f10_00.png"]
    path = write_sequence(tmp_path, "0", {name: png(drawn(n)) for n, name in reversed(list(enumerate(names)))})
    with SequenceReader(str(tmp_path), path) as reader:
        for number, frame in enumerate(reader.read(range(6))):
            assert np.array_equal(frame.image, drawn(number))


@BOTH
def test_a_picture_that_does_not_decode_is_none_at_its_index(tmp_path: Path, path: str) -> None:
    members = pictures()
    members["3.png"] = b""
    members["20.png"] = members["20.png"][:-500]
    broken = bytearray(members["100.png"])
    broken[len(broken) // 2] ^= 4  # a bit
    members["100.png"] = bytes(broken)
    with SequenceReader(str(tmp_path), write_sequence(tmp_path, path, members)) as reader:
        frames = list(reader.read(range(6)))
    assert [frame.image is None for frame in frames] == [number in (3, 20, 100) for number in IN_ORDER]


def test_a_picture_of_another_size_ends_the_sequence(tmp_path: Path) -> None:
    members = {**pictures((1, 2)), "3.png": png(drawn(3, 100, 90))}
    with SequenceReader(str(tmp_path), write_sequence(tmp_path, "0", members)) as reader:
        frames = reader.read(range(3))
        assert [next(frames).index, next(frames).index] == [0, 1]
        with pytest.raises(VideoError, match="90x100, and others are 224x224") as refused:
            next(frames)
    assert refused.value.reason == Reason.UNREADABLE


def test_no_more_of_a_file_is_read_than_a_picture_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member of an archive can claim any size."""
    members = {**pictures((1,)), "2.png": png(drawn(2)) + bytes(300_000)}
    monkeypatch.setattr(sequence, "LARGEST_IMAGE", len(members["2.png"]) - 300_010)
    for path in (FOLDER, PACKED):
        with SequenceReader(str(tmp_path), write_sequence(tmp_path, path, members)) as reader:
            assert [frame.image is None for frame in reader.read(range(2))] == [False, True]


def test_an_image_whose_header_claims_too_many_pixels_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 32,000 pixels a side, 3 MB as PNG, OpenCV makes 3 GB, and crashes when it resizes them."""
    rows = zlib.compress(bytes(9_000 * (1 + 9_000 // 8)), 1)  # one bit a pixel
    header = struct.pack(">IIBBBBB", 9_000, 9_000, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    huge = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    decoded = []
    decode = cv2.imdecode
    monkeypatch.setattr(module.cv2, "imdecode", lambda data, how: decoded.append(len(data)) or decode(data, how))
    members = {**pictures((1,)), "2.png": b"\x89PNG\r\n\x1a\n" + huge}
    for path in (FOLDER, PACKED):
        with SequenceReader(str(tmp_path), write_sequence(tmp_path, path, members)) as reader:
            assert [frame.image is None for frame in reader.read(range(2))] == [False, True]
    assert set(decoded) == {len(members["1.png"])}


def test_a_sequence_of_any_size_is_kept_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with SequenceReader(str(tmp_path), write_sequence(tmp_path, PACKED, pictures())) as reader:
        assert [np.array_equal(f.image, drawn(n)) for f, n in zip(reader.read(range(6)), IN_ORDER, strict=True)]
    assert not list((tmp_path / "temporary").iterdir())


def test_an_archive_is_read_once_for_all_of_its_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"0/real/{n}/{name}": data for n in range(6) for name, data in pictures().items()}
    write_archive(tmp_path / "0.tar.gz", members)
    reads = []
    temporary = archives.TemporaryFile
    monkeypatch.setattr(archives, "TemporaryFile", lambda: reads.append(1) or temporary())
    for number in range(6):
        with SequenceReader(str(tmp_path), f"0.tar.gz/0/real/{number}") as reader:
            assert len(list(reader.read(range(reader.info.frame_count)))) == len(NUMBERS)
    assert len(reads) == 1
    write_archive(tmp_path / "0.tar.gz", {"0/real/0/1.png": png(drawn(1))})  # another file of that name
    with SequenceReader(str(tmp_path), "0.tar.gz/0/real/0") as reader:
        assert reader.info.frame_count == 1


def hurt(root: Path, how: str) -> str:
    """Write an archive of two sequences with something wrong in it; returns the path of the first."""
    archive = root / "0.tar.gz"
    if how == "gone":
        return "0.tar.gz/0/real/0"
    write_archive(archive, {f"0/real/{n}/{name}": data for n in (0, 1) for name, data in pictures().items()})
    data = archive.read_bytes()
    if how in ("halved", "page"):
        archive.write_bytes(data[: len(data) // 2] if how == "halved" else b"<html>Quota exceeded</html>")
        return "0.tar.gz/0/real/1" if how == "halved" else "0.tar.gz/0/real/0"
    names = {"absolute": "/0/real/0/9.png", "up": "0/real/0/../../../../9.png"}
    evil = tarfile.TarInfo(names.get(how, "0/real/0/9.png"))
    evil.type = {"link": tarfile.SYMTYPE, "hard link": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}.get(how, b"0")
    evil.linkname = "/etc/passwd"
    with tarfile.open(archive, "w:gz") as packed:
        packed.addfile(tarfile.TarInfo("0/real/0/1.png"))
        packed.addfile(evil)
    return "0.tar.gz/0/real/0"


@pytest.mark.parametrize(
    ("how", "reason", "words"),
    [
        ("gone", Reason.MISSING_FILE, "No such file"),
        ("halved", Reason.UNREADABLE, "download it again"),
        ("page", Reason.UNREADABLE, "not an archive"),
        ("absolute", Reason.UNREADABLE, "unsafe member"),
        ("up", Reason.UNREADABLE, "unsafe member"),
        ("link", Reason.UNREADABLE, "unsafe member"),
        ("hard link", Reason.UNREADABLE, "unsafe member"),
        ("device", Reason.UNREADABLE, "unsafe member"),
    ],
)
def test_what_an_archive_is_refused_for(tmp_path: Path, how: str, reason: Reason, words: str) -> None:
    path = hurt(tmp_path, how)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VideoError, match=words) as refused:
        SequenceReader(str(tmp_path), path)
    assert refused.value.reason == reason
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_without_pictures_and_pictures_without_sense(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_sequence(tmp_path, "noise", {"1.png": b"no picture"})
    write_sequence(tmp_path, PACKED, pictures())
    for path, reason in {
        "gone": Reason.MISSING_FILE,
        "empty": Reason.MISSING_FILE,
        "noise": Reason.UNREADABLE,
        f"{PACKED}2": Reason.MISSING_FILE,
    }.items():
        with pytest.raises(VideoError) as refused:
            SequenceReader(str(tmp_path), path)
        assert refused.value.reason == reason


# Built ------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """No face is ever sought in a sequence."""
    monkeypatch.setattr(
        "facemill.pipeline.build.groups.load_detector", lambda *_: pytest.fail("a detector was asked for")
    )


def entry(root: Path, path: str, label: int = 1, **fields: object) -> VideoEntry:
    video_id = path.replace("/", "-").replace(".", "_")
    method = "wild" if label else "real"
    return VideoEntry(video_id, "wild", method, label, "native", "train", str(root), path, **fields)


def alone(one: VideoEntry) -> ClipGroup:
    return ClipGroup(None, (one,)) if one.label else ClipGroup(one)


def run(
    out: Path, *entries: VideoEntry, sets: Sequence[str] = (), together: bool = False
) -> tuple[ShardResult, list[EncodedSample]]:
    recipe = load_recipe("default", [f"crop.size={SIZE}", "sample.strategy=all", *sets])
    groups = (ClipGroup(entries[0], entries[1:]),) if together else tuple(map(alone, entries))
    result = build_shard(ShardSpec("train-000000", "train", groups), BuildJob(out, recipe))
    return result, list(format_of(result.shard.path).read(out / result.shard.path)) if result.shard else []


def opened(sample: EncodedSample) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(sample.image, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize("sets", [[], ["crop.align=similarity"], ["crop.around=mask", "crop.scale=2"]])
def test_every_picture_is_a_sample_whole_whatever_the_recipe_says_of_crops(tmp_path: Path, sets: list[str]) -> None:
    real = entry(tmp_path, write_sequence(tmp_path, "real_train/0/real/1", pictures()), 0)
    fake = entry(tmp_path, write_sequence(tmp_path, PACKED, pictures()))
    result, found = run(tmp_path / "out", real, fake, sets=sets)
    assert result.failures == ()
    assert [sample.record.frame_index for sample in found] == [0, 1, 2, 3, 4, 5] * 2
    for sample, number in zip(found, IN_ORDER * 2, strict=True):
        record = sample.record
        assert np.array_equal(opened(sample), drawn(number))
        assert record.bbox == (0, 0, SIZE, SIZE)
        assert record.affine == (1, 0, 0, 0, 1, 0)
        assert (record.landmarks, record.score, record.pts_s, record.track_id) == ((0,) * 10, 0, 0, 0)
        kind, coverage = (MaskKind.NONE, None) if record.label else (MaskKind.ZEROS, 0)
        assert (record.mask_kind, record.mask_coverage) == (kind, coverage)
        assert list(ImageCheck(SIZE, "png").faults(sample)) == []
    assert result.faces.rows == 0


@pytest.mark.parametrize(("size", "how"), [(112, cv2.INTER_AREA), (448, cv2.INTER_CUBIC), (299, cv2.INTER_CUBIC)])
def test_crops_are_the_pictures_resized_up_to_their_edges(tmp_path: Path, size: int, how: int) -> None:
    fake = entry(tmp_path, write_sequence(tmp_path, FOLDER, pictures()))
    _, found = run(tmp_path / "out", fake, sets=[f"crop.size={size}"])
    for sample, number in zip(found, IN_ORDER, strict=True):
        expected = cv2.resize(drawn(number), (size, size), interpolation=how)
        apart = np.abs(opened(sample).astype(int) - expected)
        assert apart.max() <= 3


def test_a_picture_that_is_not_square_stays_in_proportion(tmp_path: Path) -> None:
    tall = entry(tmp_path, write_sequence(tmp_path, "0/fake/1", {"1.png": png(drawn(1, 200, 100))}))
    _, (sample,) = run(tmp_path / "out", tall, sets=["crop.size=200"])
    assert sample.record.bbox == (0, 0, 100, 200)
    assert np.array_equal(opened(sample)[:, 50:150], drawn(1, 200, 100))
    assert list(ImageCheck(200, "png").faults(sample)) == []


def test_folders_and_archives_give_the_same(tmp_path: Path) -> None:
    found = {}
    for path in (FOLDER, PACKED):
        _, samples = run(tmp_path / path[:12], entry(tmp_path, write_sequence(tmp_path, path, pictures())))
        found[path] = [(s.image, s.mask, s.record.frame_index, s.record.bbox, s.record.affine) for s in samples]
    assert found[FOLDER] == found[PACKED]


@pytest.mark.parametrize("strategy", [["uniform", "frames", 3], ["stride", "every", 4], ["random", "frames", 3]])
def test_strategies_choose_from_the_pictures(tmp_path: Path, strategy: list[object]) -> None:
    fake = entry(tmp_path, write_sequence(tmp_path, PACKED, pictures()))
    name, option, value = strategy
    sets = [f"sample.strategy={name}", f"sample.{option}={value}"]
    _, found = run(tmp_path / "out", fake, sets=sets)
    chosen = sample_frames(load_recipe("default", sets).sample, 6, seed=0, group_id=fake.video_id)
    assert [s.record.frame_index for s in found] == chosen.tolist()
    for sample in found:
        assert np.array_equal(opened(sample), drawn(IN_ORDER[sample.record.frame_index]))


def test_whatever_is_wrong_with_a_sequence_is_on_record_and_the_others_are_built(tmp_path: Path) -> None:
    members = pictures()
    members["20.png"] = b"\x89PNG"
    sound = entry(tmp_path, write_sequence(tmp_path, FOLDER, pictures()))
    holed = entry(tmp_path, write_sequence(tmp_path, "0/fake/2", members))
    resized = entry(tmp_path, write_sequence(tmp_path, "0/fake/3", {**pictures(), "50.png": png(drawn(1, 80, 80))}))
    small = entry(tmp_path, write_sequence(tmp_path, "0/fake/4", {"1.png": png(drawn(1, 30, 30))}))
    damaged = entry(tmp_path, hurt(tmp_path, "halved"))
    empty = entry(tmp_path, write_sequence(tmp_path, "0/fake/5", {}))
    result, found = run(tmp_path / "out", damaged, empty, holed, resized, small, sound)
    counts = Counter(sample.record.video_id for sample in found)
    assert counts == {holed.video_id: 5, resized.video_id: 4, sound.video_id: 6}
    assert [(f.video_id, f.stage, f.reason, f.frames) for f in result.failures] == [
        (damaged.video_id, Stage.DECODE, Reason.UNREADABLE, 0),
        (empty.video_id, Stage.DECODE, Reason.MISSING_FILE, 0),
        (holed.video_id, Stage.DECODE, Reason.TRUNCATED, 1),
        (resized.video_id, Stage.DECODE, Reason.UNREADABLE, 3),
        (small.video_id, Stage.FILTER, Reason.TOO_SMALL, 1),
    ]
    assert (result.videos, result.videos_without_samples) == (6, 3)


def test_crops_of_which_only_those_between_the_samples_decode_are_on_record(tmp_path: Path) -> None:
    images = pictures(range(3)) | {f"{number}.png": b"" for number in (0, 2)}
    holed = entry(tmp_path, write_sequence(tmp_path, FOLDER, images), label=0)
    result, samples = run(tmp_path / "out", holed, sets=["sample.strategy=uniform", "sample.frames=2"])
    assert not samples
    assert [(failure.reason, failure.frames) for failure in result.failures] == [(Reason.TRUNCATED, 2)]


def test_a_sequence_with_its_original_gets_a_difference_mask(tmp_path: Path) -> None:
    """Of other corpora than WildDeepfake: pictures of real and fake that show the same."""
    forged = {}
    for number in IN_ORDER:
        picture = drawn(number)
        picture[60:160, 70:150] = 255 - picture[60:160, 70:150]
        forged[f"{number}.png"] = png(picture)
    real = entry(tmp_path, write_sequence(tmp_path, "0/real/1", pictures()), 0)
    fake = entry(tmp_path, write_sequence(tmp_path, "0/fake/1", forged), source_id=real.video_id)
    result, found = run(tmp_path / "out", real, fake, sets=["mask.threshold=0.05", "crop.around=mask"], together=True)
    assert result.failures == ()
    assert [sample.record.mask_kind for sample in found] == [MaskKind.ZEROS] * 6 + [MaskKind.DIFFERENCE] * 6
    for sample in found[6:]:
        mask = cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_UNCHANGED) > 0
        known = np.zeros_like(mask)
        known[60:160, 70:150] = True
        assert (mask & known).sum() / (mask | known).sum() > 0.7
