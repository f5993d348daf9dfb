"""What has been committed: one result per shard below the state folder, written after everything it speaks of."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from facemill.manifests import FailureRecord
from facemill.manifests.checks.bounded import content_of
from facemill.manifests.remote import RemoteFolder
from facemill.manifests.shards.dataset import state_path
from facemill.manifests.storage import FOOTER_BYTES, footer_digest, sha256_of, write_atomically
from facemill.pipeline.extract.result import DeviceUse

__all__ = ["PLAN_FILE", "GroupDone", "ShardFile", "ShardResult", "load_result", "save_result"]

PLAN_FILE = "plan.json"
"""In the state folder: how many shards and videos there are to do."""


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A file that a shard's result speaks of.

    Attributes:
        path: below the dataset's folder.
        rows, bytes: its size.
        sha256: of its bytes, hex.
        footer: see `footer_digest`.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    footer: str

    @classmethod
    def of(cls, root: Path, path: str, rows: int) -> "ShardFile":
        """Describe a finished file."""
        file = root / path
        return cls(path, rows, file.stat().st_size, sha256_of(file), footer_digest(file))

    def is_whole(self, root: Path | RemoteFolder, *, thorough: bool = True) -> bool:
        """Whether the file is there, byte for byte, or, if not `thorough`, by its size and its last bytes."""
        if isinstance(root, RemoteFolder):
            start, digest = (0, self.sha256) if thorough else (max(0, self.bytes - FOOTER_BYTES), self.footer)
            return root.size(self.path) == self.bytes and root.sha256(self.path, start, self.bytes) == digest
        path = root / self.path
        if not path.is_file() or path.stat().st_size != self.bytes:
            return False
        return sha256_of(path) == self.sha256 if thorough else footer_digest(path) == self.footer


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What came of a shard.

    Attributes:
        fingerprint: of the work on this shard (`ShardSpec.fingerprint`).
        identity: digest of the work on any shard (`WorkIdentity`); build.json says what it stands for.
        shard: the shard itself; None if it has no samples.
        samples, faces, facts: tables of its records, merged into the dataset's own in the end.
        videos: how many videos it was made of.
        videos_without_samples: how many of them gave no sample.
        timings: seconds by stage.
        devices: use by host and torch device, such as `node1 cuda:3`, over all runs that built the shard.
    """

    shard_id: str
    split: str
    fingerprint: str
    identity: str
    shard: ShardFile | None
    samples: ShardFile
    faces: ShardFile
    facts: ShardFile
    videos: int
    videos_without_samples: int
    failures: tuple[FailureRecord, ...]
    timings: dict[str, float] = field(default_factory=dict)
    devices: dict[str, DeviceUse] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Samples in the shard."""
        return self.shard.rows if self.shard else 0

    @property
    def files(self) -> list[ShardFile]:
        """Every file it speaks of, the shard first."""
        return [file for file in (self.shard, self.samples, self.faces, self.facts) if file is not None]

    def is_whole(self, root: Path | RemoteFolder, *, thorough: bool = True) -> bool:
        """Whether every file it speaks of is there (see `ShardFile.is_whole`)."""
        return all(file.is_whole(root, thorough=thorough) for file in self.files)

    def is_final(self, root: Path | RemoteFolder, *, retry_failed: bool = False, thorough: bool = True) -> bool:
        """Whether nothing is left to do: its files are whole, and no failure is to be tried again.

        Args:
            retry_failed: videos without a sample are tried again, whosever fault that is.
            thorough: see `ShardFile.is_whole`.
        """
        again = any(failure.retryable for failure in self.failures)
        again |= retry_failed and self.videos_without_samples > 0
        return not again and self.is_whole(root, thorough=thorough)


_RESULT = TypeAdapter(ShardResult)


@dataclass(frozen=True, slots=True)
class GroupDone:
    """What a worker tells of a clip group as soon as it is through with it.

    Attributes:
        videos, samples, failures: how many.
        blocked: reason and message for each video that failed as a whole by no fault of its own.
    """

    shard_id: str
    videos: int
    samples: int
    failures: int
    blocked: tuple[tuple[str, str], ...] = ()


def save_result(root: Path, result: ShardResult) -> None:
    """Commit a shard."""
    text = json.dumps(asdict(result), indent=1, sort_keys=True)
    write_atomically(root / state_path(result.shard_id), text.encode())


def load_result(root: Path | RemoteFolder, shard_id: str, fingerprint: str) -> ShardResult | None:
    """The committed result of this very work, be its files whole or not; None where there is none."""
    name = state_path(shard_id)
    try:
        content = root.read(name) if isinstance(root, RemoteFolder) else content_of(root / name)
        result = _RESULT.validate_json(content or b"", strict=True)
    except (OSError, ValueError):  # pydantic's ValidationError is one
        return None
    return result if result.fingerprint == fingerprint else None
