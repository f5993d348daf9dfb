"""A build by Dask's workers into an object store: killed, resumed, and read by commands."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from facemill.manifests.remote import RemoteFolder
from tests.integration.command import build_args, content, facemill, start
from tests.integration.conftest import Built

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
OUT = "s3://bucket/data/faces"


def committed(server: Any) -> list[str]:
    """The shards' results that have been uploaded, in order."""
    found = [path.rpartition("/")[2] for method, path in server.requests if method == "PUT" and "/_state/train" in path]
    return [name for name in found if name.endswith(".json")]


def test_a_build_that_is_killed_is_resumed_and_read(built: Built, manifest: Path, tmp_path: Path, s3: Any) -> None:
    args = build_args(manifest, OUT, workers=2)  # type: ignore[arg-type]
    deadline = time.monotonic() + 300
    with start(*args) as process:
        while not committed(s3):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        before = committed(s3)
        process.send_signal(signal.SIGKILL)
    assert RemoteFolder(OUT).size("dataset.json") is None
    run, beat = sorted(RemoteFolder(f"{OUT}/_state/runs").names())  # of the killed run
    assert beat == f"{run}.beat"

    resumed = facemill(*args)
    assert resumed.code == 0, resumed.err
    assert resumed.out == built.ended.out.replace(str(built.folder), OUT)
    assert f"{OUT} was taken by another run: this one waits up to 60 s" in resumed.err
    assert all(committed(s3).count(name) == 1 for name in before)
    RemoteFolder(OUT).fetch(RemoteFolder(OUT).names(below=True), tmp_path / "copy")
    expected = content(built.folder)
    expected.pop("_state/lock")
    assert content(tmp_path / "copy") == expected

    checked = facemill("verify", OUT, "--json", env={})
    assert checked.code == 0, checked.out + checked.err
    assert json.loads(checked.out)["problems"] == []
    there, here = (json.loads(facemill("inspect", place, "--json", env={}).out) for place in (OUT, built.folder))
    for summary in (there, here):
        summary.pop("seconds")
        summary.pop("devices")
    assert there == here
    page = facemill("report", OUT, "--out", tmp_path / "report.html", env={})
    assert page.code == 0, page.err
