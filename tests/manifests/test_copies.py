import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from facemill.manifests import copies

HOLD = "from facemill.manifests.copies import copies_folder\nimport sys\n"
HOLD += "with copies_folder() as folder: print(folder, flush=True); sys.stdin.read()"


def test_what_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("mine", "facemill-copies-without-lock"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").touch()
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    options["env"] = {**os.environ, "TMPDIR": str(tmp_path)}
    with (
        subprocess.Popen([sys.executable, "-c", HOLD], **options) as killed,
        subprocess.Popen([sys.executable, "-c", HOLD], **options) as alive,
    ):
        left, used = (Path(process.stdout.readline().strip()) for process in (killed, alive))
        (left / "video.mp4").write_bytes(b"half")
        for folder in (left, used):
            os.utime(folder / "in-use", (0, 0))
        killed.kill()
        killed.wait()
        copies._sweep.cache_clear()
        with copies.copies_folder() as own:
            assert sorted(tmp_path.iterdir()) == sorted(
                [own, used, tmp_path / "mine", tmp_path / "facemill-copies-without-lock"]
            )
        alive.communicate()
    assert not own.exists()
    assert not used.exists()
