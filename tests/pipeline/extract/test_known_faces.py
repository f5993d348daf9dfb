"""Detections are found by detector settings and video content, with a single scan of the table."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from facemill import DatasetError
from facemill.manifests import FrameFaces, VideoEntry, schemas
from facemill.pipeline.build.job import build
from facemill.pipeline.config.recipe import load_recipe
from facemill.pipeline.extract.known_faces import KnownFaces, detection_key, open_faces
from tests.pipeline.build.test_shard import BIG, FRAMES
from tests.pipeline.conftest import MarkDetector, Told, film

MADE_BY = "0123456789abcdef"
VIDEO = VideoEntry("clip", "d", "real", 0, "native", "train", "/data", "clip.mp4")
HASHED = replace(VIDEO, content_hash="xxh3:1")


def row(number: int, frame: int) -> FrameFaces:
    box = (1.0 * number, 1.0 * frame, 40.0, 50.0)
    key = detection_key(MADE_BY, replace(VIDEO, video_id=f"v{number}"), 1000, 9)
    return FrameFaces(key, f"v{number}", frame, (box,), ((0.0,) * 10,), (0.5,))


def write(folder: Path, rows: list[FrameFaces]) -> Path:
    folder.mkdir(exist_ok=True)
    pq.write_table(schemas.to_table(rows, schemas.FACES), folder / "faces.parquet", row_group_size=7)
    return folder


def test_each_key_gives_its_own_rows_wherever_they_lie(tmp_path: Path) -> None:
    rows = [row(number, frame) for number in range(9) for frame in (0, 4, 8)]  # row groups of 7 cut some videos in two
    found = open_faces(write(tmp_path, rows))
    for number in range(9):
        assert found.of(row(number, 0).key) == {frame: row(number, frame) for frame in (0, 4, 8)}
    assert found.of("another") == {}
    assert found.made_by == MADE_BY


def test_the_table_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [row(number, frame) for number in range(100) for frame in range(7)])
    first = open_faces(tmp_path)
    read = []
    group = pq.ParquetFile.read_row_group

    def counted(file: pq.ParquetFile, number: int, **options: object) -> object:
        read.append(number)
        return group(file, number, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    assert open_faces(tmp_path) is first
    for number in (3, 4):
        open_faces(tmp_path).of(row(number, 0).key)
        open_faces(tmp_path).of(row(number, 1).key)
    assert read == [3, 4]
    write(tmp_path, [row(7, 0)])  # built anew since
    assert open_faces(tmp_path).of(row(7, 0).key) == {0: row(7, 0)}


def test_a_key_is_of_the_content_where_that_is_known() -> None:
    key = detection_key(MADE_BY, HASHED, 1000, 9)
    assert detection_key(MADE_BY, replace(HASHED, video_id="renamed", path="moved.mp4"), 1000, 9) == key
    others = [
        detection_key(MADE_BY, VIDEO, 1000, 9),
        detection_key(MADE_BY, replace(VIDEO, video_id="renamed"), 1000, 9),
        detection_key(MADE_BY, replace(HASHED, content_hash="xxh3:2"), 1000, 9),
        detection_key(MADE_BY, HASHED, 1001, 9),
        detection_key(MADE_BY, HASHED, 1000, 8),
        detection_key("f" * 16, HASHED, 1000, 9),
        detection_key(MADE_BY, HASHED, 1000, 9, deinterlaced=True),
    ]
    assert len({key, *others}) == 8
    assert all(len(each) == 32 for each in others)


@pytest.mark.parametrize("content", [b"PAR1", b""])
def test_a_damaged_table_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "faces.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match=r"faces\.parquet cannot be read .*give --faces the folder of a finished"):
        open_faces(tmp_path)


def test_rows_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    path = write(tmp_path, [row(1, 0), row(2, 0)]) / "faces.parquet"
    pq.write_table(pq.read_table(path).drop(["scores"]), path)
    with pytest.raises(DatasetError, match="scores is missing"):
        KnownFaces(path).of(row(1, 0).key)


def test_reuse_in_other_shards_and_a_word_where_there_is_none(
    add_video: Callable[..., VideoEntry], mark_detector: MarkDetector, tmp_path: Path
) -> None:
    frames = film([BIG], FRAMES)
    pair = [add_video("real", frames), add_video("fake", film([BIG], FRAMES, forged=0), 1, source_id="real")]
    first, more = (
        load_recipe("default", ["sample.frames=3", f"crop.size={size}", "detect.on=each"]) for size in (96, 64)
    )
    build(pair, first, tmp_path / "first", executor="sequential")
    seen, noted = mark_detector.frames_seen, Told()
    others = [add_video(f"other{n}", film([BIG], FRAMES, seed=n)) for n in range(3)]
    shards = load_recipe("default", ["sample.frames=3", "detect.on=each", "shards.samples_per_shard=3"])
    options = {"executor": "sequential", "faces": tmp_path / "first", "watcher": noted}
    build([*others, *pair], shards, tmp_path / "mixed", **options)
    assert mark_detector.frames_seen - seen == 9  # of the others alone
    build(pair, more, tmp_path / "smaller", **options)
    assert mark_detector.frames_seen - seen == 9
    assert noted.lines == []
    strict = load_recipe("default", ["sample.frames=3", "detect.min_score=0.95"])
    build(pair, strict, tmp_path / "strict", **options)
    assert noted.lines == [
        f"No face detections of {tmp_path / 'first'} are reused: "
        "they were made with another detector (min_score 0.9 instead of 0.95)."
    ]
    (tmp_path / "first" / "_state" / "build.json").unlink()
    build(pair, strict, tmp_path / "again", **options)
    assert noted.lines[1].endswith("made with another detector, or another version of facemill.")
