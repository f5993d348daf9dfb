"""A corpus, its undisturbed build, and what must hold after any disturbance."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from facemill.manifests.storage import TEMPORARY_SUFFIX, read_json, sha256_of
from tests.integration.command import Ended, build_args, committed, content, facemill, short_videos

SEED = int(os.environ.get("CHAOS_SEED", "0"))
KILLS = int(os.environ.get("CHAOS_KILLS", "100"))
"""How often processes are killed, and as often a build ends at a step of a commit."""


@dataclass(frozen=True)
class Corpus:
    """Twelve short videos in six shards.

    Attributes:
        content: of a build that nothing disturbed, by path.
    """

    manifest: Path
    content: dict[str, str]

    def args(self, out: Path, *more: object) -> list[object]:
        return build_args(self.manifest, out, *more)

    def check_committed(self, out: Path) -> int:
        """See that all files that results speak of are there, byte for byte; the number of results."""
        results = [read_json(path) for path in committed(out)]
        for result in results:
            for part in filter(None, (result[part] for part in ("shard", "samples", "faces", "facts"))):
                assert sha256_of(out / part["path"]) == part["sha256"]
        if (out / "dataset.json").exists():
            kept = {path: digest for path, digest in content(out).items() if not self._is_left(path)}
            assert kept == self.content
        return len(results)

    def _is_left(self, path: str) -> bool:
        """Whether the file is of a run that was killed, which may begin although the build has finished."""
        return path.startswith(("_state/.", "_state/run-")) or path.endswith(TEMPORARY_SUFFIX)

    def check_finished(self, out: Path) -> None:
        """See that a build has the bytes of the undisturbed one, and nothing besides."""
        assert content(out) == self.content
        assert not [path for path in out.rglob("*") if path.name.endswith(TEMPORARY_SUFFIX)]

    def after(self, out: Path, *, finished: bool) -> Path:
        """Check what a disturbed build has left; returns where to go on, which is a new folder if it has finished."""
        if out.exists():
            self.check_committed(out)
        if not finished:
            return out
        self.check_finished(out)
        return out.with_name(f"{int(out.name) + 1}")

    def finish(self, out: Path) -> Ended:
        """The same command again, which has to bring a build to its end."""
        ended = facemill(*self.args(out))
        assert ended.code == 0, ended.err
        self.check_finished(out)
        return ended


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = tmp_path_factory.mktemp("corpus")
    videos = short_videos(folder / "ffpp")
    manifest = folder / "videos.parquet"
    assert facemill("scan", "ffpp", videos, "--quality", "c23", "--out", manifest).code == 0
    made = facemill(*build_args(manifest, folder / "alone"))
    assert made.code == 0, made.err
    return Corpus(manifest, content(folder / "alone"))
