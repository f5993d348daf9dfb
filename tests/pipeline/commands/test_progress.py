"""What a command shows of its progress."""

import logging
import re

import pytest
import rich.console

from facemill.manifests.printable import pace
from facemill.pipeline.commands import printing as module
from facemill.pipeline.commands.printing import progress

LINE = r"verifying: 50/200 samples  [\d.]+/s  \d:\d\d:\d\d left"


def test_pace() -> None:
    assert pace(0, 10, 5) == ""
    assert pace(50, 200, 20) == "2.5/s  0:01:00 left"
    assert pace(50, None, 20) == "2.5/s"


@pytest.mark.parametrize("quiet", [False, True])
def test_without_a_terminal_it_is_plain_lines(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    quiet: bool,
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0)
    with caplog.at_level(logging.INFO), progress("verifying", "samples", quiet=quiet) as advance:
        advance(20, 200)
        advance(30, 200)
    printed = capsys.readouterr()
    assert not printed.out
    assert len(printed.err.splitlines()) == (0 if quiet else 2)
    if not quiet:
        assert re.fullmatch(LINE, printed.err.splitlines()[1])
    assert re.fullmatch(LINE, caplog.messages[-1])  # the log has them all the same


def test_lines_are_seconds_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("verifying", "samples", 2) as advance:
        advance(1)
        advance(1)
    assert not capsys.readouterr().err


def test_on_a_terminal_it_is_a_line_that_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0)
    console = rich.console.Console
    monkeypatch.setattr(
        rich.console, "Console", lambda stderr: console(stderr=stderr, force_terminal=True, width=90, color_system=None)
    )
    with progress("verifying", "samples", 200) as advance:
        advance(50)
    shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", capsys.readouterr().err)
    assert re.search(r"verifying .* 50/200 samples [\d.]+/s  \d:\d\d:\d\d left", shown)
    assert "verifying: 50" not in shown
