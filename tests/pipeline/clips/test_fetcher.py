"""Remote videos are copied several at once, and ahead of the groups that are decoded."""

import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from facemill import VideoError
from facemill.manifests import ClipGroup, Reason, VideoEntry
from facemill.pipeline.clips.fetcher import Fetcher, videos_of
from facemill.pipeline.clips.items import LeadWindow
from facemill.pipeline.clips.prefetch import Prefetch
from facemill.pipeline.config.recipe import load_recipe
from tests.conftest import encode_video

GROUPS = 5


def entry(name: str, label: int = 0, **fields: Any) -> VideoEntry:
    real = name.replace("fake", "real") if label else None
    place = {"root": "memory://corpus", "path": f"{name}.mp4", "source_id": real, **fields}
    return VideoEntry(name, "d", "m" if label else "real", label, "native", "train", **place)


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real video and a fake of it for each group; copies are below `tmp_path`."""
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    monkeypatch.setattr(MemoryFileSystem, "pseudo_dirs", [""])
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    frames = np.broadcast_to(np.arange(0, 48, 8, dtype=np.uint8)[:, None, None, None], (6, 48, 64, 3)).copy()
    data = encode_video(tmp_path / "clip.mp4", frames).read_bytes()
    for number in range(GROUPS):
        for kind in ("real", "fake"):
            fsspec.filesystem("memory").pipe_file(f"/corpus/{kind}{number}.mp4", data)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The videos of which copies have been begun; the first two only go on together."""
    get, found, together = MemoryFileSystem.get_file, list[str](), threading.Barrier(2, timeout=20)

    def get_file(self: MemoryFileSystem, path: str, *arguments: Any, **options: Any) -> None:
        found.append(path.removeprefix("/corpus/").removesuffix(".mp4"))
        if path.endswith("0.mp4"):
            together.wait()
        get(self, path, *arguments, **options)

    monkeypatch.setattr(MemoryFileSystem, "get_file", get_file)
    return found


def test_groups_are_copied_while_earlier_ones_are_decoded(asked: list[str], tmp_path: Path) -> None:
    groups = [ClipGroup(entry(f"real{number}"), (entry(f"fake{number}", 1),)) for number in range(GROUPS)]
    seen = 0
    with Prefetch(groups, load_recipe("default"), threads=1) as stream:
        for opened in stream:
            if not isinstance(opened, tuple):
                continue  # no frame of these videos tells its fake where it is
            if not seen:  # nothing of the first group has been taken
                deadline = time.monotonic() + 20
                while len(asked) < 6 and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert sorted(asked) == sorted(f"{kind}{number}" for kind in ("real", "fake") for number in range(3))
            seen += sum(isinstance(item, LeadWindow) for item in opened[1])
    assert seen >= GROUPS
    assert len(asked) == len(set(asked)) == 2 * GROUPS
    assert list((tmp_path / "copies").iterdir()) == []


def test_a_copy_stays_as_long_as_it_is_used(tmp_path: Path) -> None:
    with Fetcher() as fetcher:
        with ExitStack() as resources:
            path = fetcher.take("memory://corpus/real1.mp4", resources)
            assert path.read_bytes() == (tmp_path / "clip.mp4").read_bytes()
        assert not path.exists()
        fetcher.ahead(["memory://corpus/real2.mp4"])
    assert list((tmp_path / "copies").iterdir()) == []


def test_without_remote_videos_there_is_no_folder(tmp_path: Path) -> None:
    with Fetcher() as fetcher:
        fetcher.ahead([])
        assert list((tmp_path / "copies").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [(FileNotFoundError("gone"), Reason.MISSING_FILE), (PermissionError("The token has expired"), Reason.NOT_FETCHED)],
)
def test_what_cannot_be_copied_is_told_by_whose_fault_it_is(
    error: Exception, reason: Reason, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(MemoryFileSystem, "get_file", fail)
    with Fetcher() as fetcher, ExitStack() as resources, pytest.raises(VideoError, match=str(error)) as told:
        fetcher.take("memory://corpus/real1.mp4", resources)
    assert Reason(told.value.reason) is reason


def test_members_of_an_archive_are_copied_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are read through one file object."""
    import tarfile

    from fsspec.implementations.tar import TarFileSystem

    get, reading, most = TarFileSystem.get_file, threading.Semaphore(1), list[bool]()

    def get_file(self: TarFileSystem, *arguments: Any, **options: Any) -> None:
        most.append(reading.acquire(blocking=False))
        time.sleep(0.05)
        get(self, *arguments, **options)
        reading.release()

    monkeypatch.setattr(TarFileSystem, "get_file", get_file)
    with tarfile.open(tmp_path / "corpus.tar", "w") as archive:
        for number in range(4):
            archive.add(tmp_path / "clip.mp4", f"{number}.mp4")
    fsspec.filesystem("memory").put(str(tmp_path / "corpus.tar"), "/corpus.tar")
    places = [f"tar://{number}.mp4::memory://corpus.tar" for number in range(4)]
    with Fetcher() as fetcher, ExitStack() as resources:
        fetcher.ahead(places)
        copies = [fetcher.take(place, resources) for place in places]
        assert most == [True] * 4
        assert {copy.name for copy in copies} == {"0.mp4", "1.mp4", "2.mp4", "3.mp4"}
        assert {copy.read_bytes() for copy in copies} == {(tmp_path / "clip.mp4").read_bytes()}


def test_only_what_is_remote_and_read_is_copied() -> None:
    masked = entry("fake0", 1, mask_path="mask0.mp4")
    local = entry("fake1", 1, root="/data")
    frames = entry("fake2", 1, path="fake2")
    group = ClipGroup(entry("real0"), (masked, local, frames))
    urls = ["memory://corpus/real0.mp4", "memory://corpus/fake0.mp4"]
    assert videos_of(group, load_recipe("default", ["mask.source=difference"])) == urls
    masks = [*urls, "memory://corpus/mask0.mp4"]
    assert videos_of(group, load_recipe("default", ["mask.source=official"])) == masks
