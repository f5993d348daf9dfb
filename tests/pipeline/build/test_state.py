"""What has been committed is taken for done only if it is of the same work and whole."""

from dataclasses import replace
from pathlib import Path

import pytest

from facemill.manifests import FailureRecord, Reason, Stage
from facemill.manifests.remote import RemoteFolder
from facemill.pipeline.build.state import ShardFile, ShardResult, load_result, save_result

FILES = ("shard", "samples", "faces", "facts")
LENGTH = 200_000
"""Longer than the end that a resume looks at."""


@pytest.fixture
def result(tmp_path: Path) -> ShardResult:
    for name in FILES:
        (tmp_path / name).write_bytes(name.encode() * (LENGTH // len(name)))
    files = {name: ShardFile.of(tmp_path, name, 3) for name in FILES}
    made = ShardResult(shard_id="train-000000", split="train", fingerprint="f", identity="i", **files, videos=2,
                       videos_without_samples=0, failures=())  # fmt: skip
    save_result(tmp_path, made)
    return made


def test_a_result_of_other_work_is_none(result: ShardResult, tmp_path: Path) -> None:
    assert load_result(tmp_path, "train-000000", "f") == result
    assert load_result(tmp_path, "train-000000", "g") is None
    assert load_result(tmp_path, "train-000001", "f") is None


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "shorter", "end", "middle"])
def test_every_file_is_looked_at(result: ShardResult, name: str, damage: str, tmp_path: Path) -> None:
    """Bytes in the middle are looked at when that is asked for."""
    data = bytearray((tmp_path / name).read_bytes())
    match damage:
        case "missing":
            (tmp_path / name).unlink()
        case "shorter":
            (tmp_path / name).write_bytes(data[:-1])
        case _:
            data[-1 if damage == "end" else 9] ^= 1
            (tmp_path / name).write_bytes(data)
    assert not result.is_whole(tmp_path)
    assert not result.is_final(tmp_path)
    assert load_result(tmp_path, "train-000000", "f") == result
    assert result.is_whole(tmp_path, thorough=False) == (damage == "middle")
    uploaded = upload(tmp_path)
    assert not result.is_whole(uploaded)
    assert result.is_whole(uploaded, thorough=False) == (damage == "middle")


@pytest.mark.parametrize("length", [9, LENGTH])
def test_a_whole_file_is_taken_for_whole_in_a_folder_and_behind_a_url(length: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(9)) * (length // 9))
    described = ShardFile.of(tmp_path, "file", 3)
    for place in (tmp_path, upload(tmp_path)):
        assert described.is_whole(place)
        assert described.is_whole(place, thorough=False)


def upload(folder: Path) -> RemoteFolder:
    """The files of a folder in one of memory, which has the folder's name."""
    remote = RemoteFolder(f"memory://{folder.name}")
    for path in folder.iterdir():
        if path.is_file():
            remote.write(path.name, path.read_bytes())
    return remote


def test_what_is_tried_again_is_not_final(result: ShardResult, tmp_path: Path) -> None:
    final = FailureRecord("a", Stage.DECODE, Reason.UNREADABLE, "Not a video.")
    passing = FailureRecord("a", Stage.DECODE, Reason.MISSING_FILE, "It is not there.")
    for failures, barren, retry, is_final in (
        ((), 0, True, True),
        ((final,), 1, False, True),
        ((final,), 1, True, False),
        ((final,), 0, True, True),
        ((final, passing), 0, False, False),
    ):
        changed = replace(result, failures=failures, videos_without_samples=barren)
        assert changed.is_final(tmp_path, retry_failed=retry) == is_final, failures
