"""A small corpus and its builds, made once: each worker process takes seconds to start."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from facemill.pipeline.demo import make_corpus
from tests.integration.command import Ended, build_args, ended, facemill, start


@pytest.fixture(scope="session", autouse=True)
def _heeded_interrupts() -> Iterator[None]:
    """A shell's background job ignores Ctrl-C, and so does all that it starts: not so the commands tested here."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Scanned:
    """A manifest, and how `facemill scan` made it."""

    manifest: Path
    ended: Ended


@dataclass(frozen=True)
class Built:
    """A dataset, and how `facemill build` made it."""

    folder: Path
    ended: Ended


@pytest.fixture(scope="session")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Scanned:
    """Twelve short videos: six persons, each with one fake."""
    folder = tmp_path_factory.mktemp("corpus")
    corpus = make_corpus(
        folder / "ffpp", subjects=6, frames=12, qualities=("c23",), methods=("Deepfakes",), size=(320, 180)
    )
    manifest = folder / "videos.parquet"
    return Scanned(manifest, facemill("scan", "ffpp", corpus, "--quality", "c23", "--out", manifest))


@pytest.fixture(scope="session")
def manifest(scanned: Scanned) -> Path:
    assert scanned.ended.code == 0, scanned.ended.err
    return scanned.manifest


@pytest.fixture(scope="session")
def builds(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Built]:
    """Undisturbed builds by format and number of workers."""
    root = tmp_path_factory.mktemp("builds")
    names = ("parquet", 1), ("webdataset", 2), ("parquet", 2)
    folders = {name: root / f"{name[0]}-{name[1]}" for name in names}
    args = {name: build_args(manifest, folders[name], "--format", name[0], workers=name[1]) for name in names}
    with start(*args[names[0]]) as one, start(*args[names[1]]) as other:
        done = {names[0]: ended(one), names[1]: ended(other)}
    done[names[2]] = facemill(*args[names[2]])
    return {name: Built(folders[name], done[name]) for name in names}


@pytest.fixture(scope="session")
def built(builds: dict[tuple[str, int], Built]) -> Built:
    """The build that the others are compared with."""
    return builds["parquet", 1]
