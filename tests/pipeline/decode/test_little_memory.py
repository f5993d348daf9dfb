"""An intact file that is read with too little memory gives all of its frames, or says that memory ran out."""

import os
import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from facemill import VideoError
from facemill.manifests.codes import Reason
from facemill.pipeline.decode import SequenceReader, VideoReader, source
from tests.conftest import encode_video

FRAMES = 12
BLOCK = 1 << 16
MORE_MIB = (1, 2, 3, 4, 5, 6, 8, 11, 16, 256)
"""Memory that is left for reading."""
CRASHED = "crashed"


def read_with(path: Path, more: float) -> str:
    """What comes of a file, with so many MiB: its number of frames, or why not."""
    taken = all_free_memory()
    limit_memory(used_memory() + int(more * 2**20))
    try:
        with VideoReader(path) as reader:
            return str(sum(frame.image is not None for frame in reader.read(range(FRAMES))))
    except VideoError as error:
        return error.reason
    except MemoryError:
        return Reason.OUT_OF_MEMORY
    finally:
        del taken


def used_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def limit_memory(limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def all_free_memory() -> list[bytearray]:
    """What this process has got from the system and does not use."""
    limit_memory(used_memory())
    blocks: list[bytearray] = []
    with suppress(MemoryError):
        while True:
            blocks.append(bytearray(BLOCK))
    return blocks


def in_child(path: Path, more: float) -> str:
    """`read_with` in a fork, which a library may crash that does not look at what it is given."""
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.write(theirs, read_with(path, more).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        told = answer.read()
    os.wait()
    return told or CRASHED


@pytest.mark.heavy
@pytest.mark.parametrize("codec", ["libx264", "libvpx"])
def test_a_video(tmp_path: Path, codec: str) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (FRAMES, 180, 320, 3), np.uint8)
    path = encode_video(tmp_path / "clip.mkv", frames, codec=codec)
    command = [sys.executable, "-m", __name__, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    told = done.stdout.split()
    assert len(told) == len(MORE_MIB)
    assert {*told} <= {Reason.OUT_OF_MEMORY, str(FRAMES), CRASHED}
    assert told[-1] == str(FRAMES)
    assert told[0] != str(FRAMES)


def test_damage_is_damage_only_while_there_is_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"images/{number}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "images/1.png").write_bytes((tmp_path / "images/1.png").read_bytes()[:60])
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 99)
    with SequenceReader(str(tmp_path), "images") as reader:
        assert [frame.image is None for frame in reader.read([0, 1])] == [False, True]
    with pytest.raises(VideoError) as caught:
        VideoReader(tmp_path / "noise.mp4")
    assert caught.value.reason == Reason.UNREADABLE
    monkeypatch.setattr(source, "memory_is_short", lambda: True)
    with SequenceReader(str(tmp_path), "images") as reader, pytest.raises(MemoryError):
        list(reader.read([0, 1]))
    with pytest.raises(VideoError) as caught:
        VideoReader(tmp_path / "noise.mp4")
    assert caught.value.reason == Reason.OUT_OF_MEMORY


def test_an_image_for_which_opencv_gets_no_memory_is_missing_only_while_there_is_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV fails for pixels of any size; the system may have enough left for all else."""
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    decode = cv2.imdecode

    def decoded(data: np.ndarray, how: int) -> np.ndarray:
        if data.tobytes() == (tmp_path / "1.png").read_bytes():
            raise cv2.error("(-4:Insufficient memory) Failed to allocate 201326592 bytes")
        return decode(data, how)

    monkeypatch.setattr(cv2, "imdecode", decoded)
    with SequenceReader(str(tmp_path.parent), tmp_path.name) as reader:
        assert [frame.image is None for frame in reader.read([0, 1])] == [False, True]
        monkeypatch.setattr(source, "memory_is_short", lambda: True)
        with pytest.raises(MemoryError):
            list(reader.read([0, 1]))


if __name__ == "__main__":
    print(*(in_child(Path(sys.argv[1]), more) for more in MORE_MIB))
