import errno
import subprocess
import sys
from pathlib import Path

import pytest

from facemill import DatasetError
from facemill.manifests import FailureRecord, Reason, Stage
from facemill.manifests.blame import reason_of_error
from facemill.manifests.codes import Fault
from facemill.manifests.shards import parquet
from facemill.registry import SHARD_FORMATS

FINAL = (
    *("worker_crashed", "unreadable", "no_video_stream", "truncated", "size_mismatch", "misaligned"),
    *("mask_empty", "mask_unavailable", "no_face", "too_small", "blurred"),
)
ENVIRONMENT = (
    *("missing_file", "no_access", "not_fetched", "system_error", "out_of_memory"),
    *("decode_timeout", "worker_killed"),
)


def test_only_what_lies_in_the_file_is_final() -> None:
    assert {reason.value for reason in Reason if reason.fault is Fault.FILE} >= set(FINAL)
    assert {reason.value for reason in Reason if reason.fault is Fault.ENVIRONMENT} >= set(ENVIRONMENT)
    for reason in Reason:
        assert FailureRecord("v", Stage.DECODE, reason, "").retryable is (reason.fault is not Fault.FILE)
        assert Reason(reason.value) is reason
    assert Reason.INTERNAL_ERROR.retryable


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, ""), Reason.MISSING_FILE),
        (PermissionError(errno.EACCES, ""), Reason.NO_ACCESS),
        (OSError(errno.EMFILE, ""), Reason.SYSTEM_ERROR),
        (OSError(errno.ESTALE, ""), Reason.SYSTEM_ERROR),
        (OSError(errno.ENOMEM, ""), Reason.OUT_OF_MEMORY),
        (MemoryError(), Reason.OUT_OF_MEMORY),
        (ModuleNotFoundError("s3fs"), Reason.NOT_FETCHED),
        (OSError("cannot identify image"), None),
        (ValueError(), None),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried to"
            ),
            Reason.OUT_OF_MEMORY,
        ),
        (RuntimeError("can't start new thread"), Reason.OUT_OF_MEMORY),
    ],
)
def test_the_reason_of_an_exception(error: Exception, reason: Reason | None) -> None:
    assert reason_of_error(error) is reason


def test_a_parquet_file_is_not_called_damaged_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shard.parquet").write_bytes(b"PAR1 and little else")
    with pytest.raises(DatasetError, match="build it again"):
        next(SHARD_FORMATS["parquet"].read(tmp_path / "shard.parquet"))
    monkeypatch.setattr(parquet, "memory_is_short", lambda: True)
    with pytest.raises(MemoryError):
        next(SHARD_FORMATS["parquet"].read(tmp_path / "shard.parquet"))


def test_memory_is_short_below_a_limit_of_the_address_space() -> None:
    code = (
        "import resource; from facemill.manifests.blame import memory_is_short; print(memory_is_short()); "
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20)); print(memory_is_short())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
