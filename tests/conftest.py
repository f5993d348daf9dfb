"""What many tests share: where the real media are, small videos made on the spot, and what is made once."""

import atexit
import fcntl
import gc
import hashlib
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does.
settings.register_profile("any load", deadline=None, max_examples=int(os.environ.get("EXAMPLES", 40)))
settings.load_profile("any load")
# Tests run side by side, and so do the processes that they start: more threads than cores wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A million objects of libraries and collected tests stay to the end: each look at all of them takes a second. Pytest
# looks before the process ends; only then are they given back, as some libraries tell of what is left.
gc.disable()
atexit.register(gc.unfreeze)

Made = TypeVar("Made")
ENCODED: dict[tuple[Any, ...], bytes] = {}
"""Videos that tests of this process have encoded, by all that they are made of."""
LONGEST = (
    "tests/pipeline/train/test_launchers.py",
    "tests/pipeline/build/test_wiring.py",
    "tests/pipeline/build/executors/test_dask.py",
    "tests/integration/test_poison.py",
    "tests/test_packaging.py",
)
"""Files that take half a minute or stand at the end, where one process would be left to work alone."""
SHARED: list[Path] = []
"""The folder of all processes that run these tests."""
MEDIA = Path(os.environ.get("FACEMILL_TEST_MEDIA", Path(__file__).parents[2] / "shared" / "media"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {file: number for number, file in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.nodeid.partition("::")[0], len(LONGEST)))


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    root = tmp_path_factory.getbasetemp()
    SHARED.append(root.parent if "PYTEST_XDIST_WORKER" in os.environ else root)
    yield
    SHARED.clear()


def made_once(name: str, make: Callable[[Path], Made]) -> Made:
    """What `make` gives for a new folder: the first of the processes that run tests makes it, the others read it."""
    [root] = SHARED
    made = root / f"{name}.pickle"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            (root / name).mkdir()
            made.write_bytes(pickle.dumps(make(root / name)))
    result: Made = pickle.loads(made.read_bytes())
    return result


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_disks() -> Iterator[None]:
    """No test cuts the power, and each of some ten thousand files would wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def media() -> Path:
    """Folder of real test media (`FACEMILL_TEST_MEDIA`); the test is skipped where there is none."""
    if not MEDIA.is_dir():
        pytest.skip(f"no test media at {MEDIA}: set FACEMILL_TEST_MEDIA")
    return MEDIA


def encode_video(path: Path, frames: np.ndarray, *, codec: str = "libx264", fps: int = 25, **options: str) -> Path:
    """Write uint8 RGB frames [N, H, W, 3] as a video; `pix_fmt` and codec options by name. Equal ones are kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha1(np.ascontiguousarray(frames)).digest()
    key = (path.suffix, codec, fps, *sorted(options.items()), frames.shape, digest)
    if key in ENCODED:
        path.write_bytes(ENCODED[key])
        return path
    pix_fmt = options.pop("pix_fmt", "yuv420p")
    hasty = {"deadline": "realtime", "cpu-used": "8"} if codec.startswith("libvpx") else {}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "18", **hasty, **options})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    ENCODED[key] = path.read_bytes()
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """`make_video(name, frames, **encoder_options)` writes below the test's own folder."""
    return lambda name, frames, **options: encode_video(tmp_path / name, frames, **options)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Any]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    from tests.object_store import serving

    with serving() as server:
        yield server


@pytest.fixture
def s3(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An S3 server (`tests.object_store.ObjectStore`) with an empty bucket `s3://bucket`, also for new processes."""
    import fsspec

    for name, value in (("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "mine"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.url)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # which may have looked for credentials before
    filesystem = fsspec.filesystem("s3")
    filesystem.mkdir("bucket")
    s3_server.requests.clear()
    yield s3_server
    s3_server.fault = None
    filesystem.invalidate_cache()
    filesystem.rm("bucket", recursive=True)
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
