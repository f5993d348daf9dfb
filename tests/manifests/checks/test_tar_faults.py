"""Faults of tar shards, each with the check that finds it."""

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from facemill.manifests.checks.verify import verify
from tests.manifests.checks.planting import TRAIN, edit
from tests.manifests.small_dataset import Parts

PARTS = ("json", "mask.png", "png")
Members = list[tuple[tarfile.TarInfo, bytes]]


def renamed(members: Members, position: int, name: str) -> None:
    members[position][0].name = name
    members[position][0].pax_headers = {}


def sparse(members: Members) -> None:
    members[2][0].type = tarfile.GNUTYPE_SPARSE


def linked(members: Members) -> None:
    members[2][0].type, members[2][0].linkname, members[2][0].size = tarfile.SYMTYPE, "/etc/passwd", 0


TAR_FAULTS: dict[str, tuple[Callable[[Members], object], str]] = {
    "time": (lambda members: setattr(members[0][0], "mtime", 5), "shard_layout"),
    "owner": (lambda members: setattr(members[0][0], "uname", "root"), "shard_layout"),
    "mode": (lambda members: setattr(members[0][0], "mode", 0o777), "shard_layout"),
    "order": (lambda members: members.insert(0, members.pop(1)), "shard_layout"),
    "key": (lambda members: [renamed(members, place, f"other.{part}") for place, part in enumerate(PARTS)],
            "shard_readable"),
    "member twice": (lambda members: members.insert(1, members[0]), "shard_readable"),
    "sample twice": (lambda members: members.extend(members[:3]), "shard_readable"),
    "member missing": (lambda members: members.pop(1), "shard_readable"),
    "member of another type": (lambda members: renamed(members, 2, members[2][0].name.replace(".png", ".gif")),
                               "shard_readable"),
    "link": (linked, "shard_readable"),
    "huge member": (lambda members: members.__setitem__(2, (members[2][0], bytes(1_000_000))), "shard_readable"),
    "name that is no UTF-8": (lambda members: renamed(members, 2, "\udcff.png"), "shard_readable"),
    "deep JSON": (lambda members: members.__setitem__(0, (members[0][0], b"[" * 60_000)), "shard_readable"),
}  # fmt: skip


@pytest.mark.parametrize("fault", [*TAR_FAULTS, "trailing bytes", "cut at a header"])
def test_faults_of_tars(tmp_path, fault):
    root = Parts().write(tmp_path, "webdataset")
    path = root / f"{TRAIN}.tar"
    check = "shard_layout"
    if fault == "trailing bytes":
        path.write_bytes(path.read_bytes() + b"more" + bytes(508))
    elif fault == "cut at a header":
        with tarfile.open(path) as tar:
            start = tar.getmembers()[6].offset
        path.write_bytes(path.read_bytes()[:start])
        check = "shard_readable"
    else:
        plant, check = TAR_FAULTS[fault]
        rewrite(path, plant)
    sealed = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    edit(lambda info: info["shards"][0].update(sealed))(root)
    problems = verify(root, threads=1).problems
    assert check in {p.check for p in problems if p.file == f"{TRAIN}.tar"}, [str(problem) for problem in problems]
    assert "shard_sha256" not in {problem.check for problem in problems}
    "\n".join(map(str, problems)).encode()  # prints everywhere


def rewrite(path: Path, change: Callable[[Members], object]) -> None:
    """Write a tar again with changed members."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]
    change(members)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for member, content in members:
            if member.isreg():
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
