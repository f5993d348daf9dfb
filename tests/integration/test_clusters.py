"""Commands of docs/pages/clusters.md on one machine: a scheduler with TLS, and one without."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters_page import SCRIPTS
from tests.integration.command import LONGEST_S, SETTINGS, content
from tests.integration.conftest import Built
from tests.network import free_port

TLS = {
    "tcp://": "tls://",
    "dask scheduler": "dask scheduler --protocol tls",
    "dask worker": "dask worker --protocol tls",
}

pytestmark = [pytest.mark.long, pytest.mark.timeout(2 * LONGEST_S)]


@pytest.mark.parametrize("secured", [False, True])
def test_a_scheduler_of_one_s_own(secured: bool, built: Built, manifest: Path, tmp_path: Path) -> None:
    """The page's lines, where scheduler and worker go into the background."""
    settings = " ".join(f"--set {setting}" for setting in SETTINGS)
    small = {
        "8786": str(free_port()),
        "--nworkers -1": "--nworkers 1",
        "videos.parquet --out shards": f"{manifest} --out shards --device cpu {settings}",
        **(TLS if secured else {}),
    }
    text = SCRIPTS["scheduler.sh"]
    for before, after in small.items():
        assert before in text
        text = text.replace(before, after)
    scheduler, worker, build = text.splitlines()
    (tmp_path / "all.sh").write_text(
        "\n".join(
            [
                "set -e",
                f"PATH={Path(sys.executable).parent}:$PATH",
                SCRIPTS["certificate.sh"] if secured else "",
                f"{scheduler} >scheduler.log 2>&1 &",
                f"{worker} >worker.log 2>&1 &",
                build,
            ]
        )
    )
    with subprocess.Popen(
        ["bash", "all.sh"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            _, err = process.communicate(timeout=LONGEST_S)
        finally:
            subprocess.run(["pkill", f"-{signal.SIGKILL.value}", "--session", str(process.pid)], check=False)
    assert process.returncode == 0, (
        err,
        (tmp_path / "scheduler.log").read_text(),
        (tmp_path / "worker.log").read_text(),
    )
    assert content(tmp_path / "shards") == content(built.folder)
    assert "anyone" not in err  # it is this machine's
