"""A command that is cut off from its scheduler and workers, which are in a network of their own."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.conftest import Corpus
from tests.chaos.processes import cluster
from tests.integration.command import committed, ended, start, wait_for

HERE, THERE = "10.77.31.1", "10.77.31.2"
SPACE, LINK, OTHER_END = "facemill-chaos", "fmchaos0", "fmchaos1"
WAIT_LIMIT_S = 20

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def link() -> Iterator[str]:
    """A cable between this machine and a network namespace; the name of this end."""
    if shutil.which("ip") is None:
        pytest.skip("needs iproute2")
    try:
        try:
            ip("netns", "add", SPACE)
            ip("link", "add", LINK, "type", "veth", "peer", "name", OTHER_END)
            ip("link", "set", OTHER_END, "netns", SPACE)
            ip("addr", "add", f"{HERE}/24", "dev", LINK)
            ip("link", "set", LINK, "up")
            ip("-n", SPACE, "addr", "add", f"{THERE}/24", "dev", OTHER_END)
            for name in (OTHER_END, "lo"):
                ip("-n", SPACE, "link", "set", name, "up")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"networks need rights: {error.stderr}")
        yield LINK
    finally:
        for arguments in (["link", "del", LINK], ["netns", "del", SPACE]):
            subprocess.run(["ip", *arguments], check=False, capture_output=True)


def test_a_short_cut_is_nothing_and_a_long_one_ends_the_command(corpus: Corpus, link: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    limit = ("--wait-limit", WAIT_LIMIT_S)
    with (
        cluster(THERE, ("ip", "netns", "exec", SPACE)) as (address, _),
        start(*corpus.args(out, "--scheduler", address, *limit)) as process,
    ):
        wait_for(out, 1, process)
        ip("link", "set", link, "down")
        time.sleep(3)
        ip("link", "set", link, "up")
        wait_for(out, 3, process)
        ip("link", "set", link, "down")
        cut = time.monotonic()
        done = ended(process)
        took = time.monotonic() - cut
    assert done.code in (0, 4), done  # all may have been built at that moment
    assert "Traceback" not in done.err
    if done.code == 4:
        assert "run the same command again" in done.err
        assert took < 3 * WAIT_LIMIT_S + 30
    assert corpus.check_committed(out) >= 3
    before = {path: path.stat().st_mtime_ns for path in committed(out)}
    corpus.finish(out)
    assert before.items() <= {path: path.stat().st_mtime_ns for path in committed(out)}.items()
