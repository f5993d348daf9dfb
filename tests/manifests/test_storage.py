import errno
import hashlib
import os
import stat
from pathlib import Path

import pytest

from facemill.manifests.storage import TEMPORARY_SUFFIX, atomic_path, sha256_of, target_of, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "file.bin"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.name.endswith(TEMPORARY_SUFFIX)
        temporary.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["file.bin"]


def test_an_exception_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(b"new")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file.bin"]


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "file.bin"
    with atomic_path(path) as first:
        with atomic_path(path) as second:
            first.write_bytes(b"first")
            second.write_bytes(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"


def test_write_and_hash(tmp_path):
    write_atomically(tmp_path / "file.bin", b"abc")
    assert sha256_of(tmp_path / "file.bin") == hashlib.sha256(b"abc").hexdigest()


def test_a_name_is_given_to_what_is_on_disk_and_then_kept_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, a mark must not be there without what it marks."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_rename)
    write_atomically(tmp_path / "file.bin", b"abc")
    assert done == ["file", "rename", "folder"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_flush_folders_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    flush = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, "cannot")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_atomically(tmp_path / "file", b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"

    def full(descriptor: int) -> None:
        raise OSError(errno.EIO, "a bad disk")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="a bad disk"):
        write_atomically(tmp_path / "file", b"other")
    assert (tmp_path / "file").read_bytes() == b"whole"


def test_the_target_of_a_temporary_name_is_told(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.b.parquet") as temporary:
        assert target_of(temporary) == "a.b.parquet"
        temporary.touch()
    assert target_of(Path(".notes.tmp")) is None
    assert target_of(Path("a.0badcafe.tmp")) is None
