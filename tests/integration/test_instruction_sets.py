"""The same build by a CPU's widest vector instructions and by AVX2: detections are rounded, so that crops are equal."""

from hashlib import sha256
from pathlib import Path

import pytest

from facemill.pipeline.build.claim import recorded
from facemill.pipeline.build.identity import LIMITS, device_kind
from tests.integration.command import ALONE, build_args, facemill
from tests.integration.conftest import Built

pytestmark = [pytest.mark.heavy, pytest.mark.slow, pytest.mark.timeout(600)]


def shards(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("t*/*.parquet"))}


@pytest.mark.skipif("AVX512" not in device_kind("cpu"), reason="this CPU has no wider instructions than AVX2")
def test_shards_are_equal_and_the_identity_tells_the_builds_apart(built: Built, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "narrow"
    limits = {**LIMITS, "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX512-ICL"}
    ended = facemill(*build_args(manifest, out, *ALONE), env=limits)
    assert ended.code == 0, ended.err
    assert len(shards(out)) > 1
    assert shards(out) == shards(built.folder)
    told = [recorded(folder)["device"] for folder in (built.folder, out)]
    assert [device.rpartition(" ")[2] for device in told] == ["AVX512", "AVX2"]
