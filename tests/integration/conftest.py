"""A small corpus and its builds, made once: each worker process takes seconds to start."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import made_once
from tests.integration.command import Ended, build_args, build_here, facemill, short_videos


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
def scanned() -> Scanned:
    """Twelve short videos: six persons, each with one fake."""

    def scan(folder: Path) -> Scanned:
        manifest = folder / "videos.parquet"
        corpus = short_videos(folder / "ffpp")
        return Scanned(manifest, facemill("scan", "ffpp", corpus, "--quality", "c23", "--out", manifest))

    return made_once("scanned", scan)


@pytest.fixture(scope="session")
def manifest(scanned: Scanned) -> Path:
    assert scanned.ended.code == 0, scanned.ended.err
    return scanned.manifest


@pytest.fixture(scope="session")
def built(manifest: Path) -> Built:
    """An undisturbed build by one worker: what the others are compared with."""

    def build(folder: Path) -> Built:
        return Built(folder / "one", facemill(*build_args(manifest, folder / "one")))

    return made_once("built", build)


@pytest.fixture(scope="session")
def builds(built: Built, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of undisturbed builds: by one worker, and by none in both formats."""
    root = tmp_path_factory.mktemp("builds")
    for name in ("parquet", "webdataset"):
        build_here(manifest, root / name, f"shards.format={name}")
    return {"one": built.folder, "parquet": root / "parquet", "webdataset": root / "webdataset"}
