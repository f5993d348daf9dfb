"""SIGTERM at any moment of any command: exit code 4 and the command's own line, whatever else breaks on the way."""

import subprocess
import sys

import pytest

RUN = """
import os, signal, sys
from facemill.pipeline.commands import cli
from facemill.pipeline.commands.interrupts import interrupts
def app():
    interrupts.advice = "Interrupted: do this."
    try:
        os.kill(os.getpid(), signal.{signal})
    except BaseException as error:
        {then}
cli.app = app
cli.main()
"""
THEN = {
    "nothing else": "raise",
    "a reader of data died with it": "raise RuntimeError('DataLoader worker (pid 1) is killed by signal') from error",
    "a library ends the process": "raise SystemExit(1)",
    "workers are gone": "raise OSError('the scheduler is gone')",
}


@pytest.mark.parametrize("then", THEN)
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_it_ends_with_4_and_one_line(name: str, then: str) -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)" + RUN.format(
        signal=name, then=THEN[then]
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "Interrupted: do this.\n")


def test_an_error_without_a_signal_stays_one() -> None:
    code = (
        "from facemill.pipeline.commands import cli\ndef app(): raise RuntimeError('broken')\ncli.app = app\ncli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Internal error (RuntimeError: broken)")


def test_a_fork_that_has_not_settled_ends_without_a_word() -> None:
    code = """
import os, signal
from facemill.pipeline.commands.interrupts import interrupts
interrupts.listen()
child = os.fork()
if not child:
    os.kill(os.getpid(), signal.SIGTERM)
_, status = os.waitpid(child, 0)
assert os.WTERMSIG(status) == signal.SIGTERM and not interrupts.heard
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
