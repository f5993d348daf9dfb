import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from facemill import __version__
from facemill.pipeline.commands.logfile import keep_log
from facemill.pipeline.commands.printing import echo


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    logger = logging.getLogger("facemill")
    handlers, level = list(logger.handlers), logger.level
    yield
    for handler in set(logger.handlers) - set(handlers):
        handler.close()
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_it_holds_the_command_line_and_what_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/facemill", "build", "my videos.parquet"])
    path, mark = tmp_path / "log", tmp_path / "mark"
    mark.touch()
    keep_log(path, mark=mark)
    echo("done\x1b[31m")
    lines = [line.split(" ", 2)[2] for line in path.read_text().splitlines()]  # behind date and time
    assert lines == [f"facemill {__version__}: facemill build 'my videos.parquet'", "done\\x1b[31m"]


def test_a_folder_that_is_not_the_commands_own_gets_no_log(tmp_path: Path) -> None:
    path, mark = tmp_path / "log", tmp_path / "mark"
    keep_log(path, mark=mark)
    echo("refused")
    assert not list(tmp_path.iterdir())
    mark.touch()
    echo("begun")
    assert [line.rsplit(" ", 1)[1] for line in path.read_text().splitlines()[1:]] == ["refused", "begun"]


def test_a_second_command_of_one_process_keeps_its_own(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.touch()
    keep_log(tmp_path / "first", mark=mark)
    keep_log(tmp_path / "second", mark=mark)
    echo("second")
    assert "second" not in (tmp_path / "first").read_text().splitlines()[-1].split(" ", 2)[2].split()
    assert (tmp_path / "second").read_text().endswith("second\n")


def test_nothing_is_printed_twice_where_a_library_has_the_root_logger_print() -> None:
    code = (
        "import logging, sys; logging.basicConfig(level='INFO'); sys.argv[1:] = ['recipes']\n"
        "from facemill.pipeline.commands import cli; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "\netd " in done.stdout
    assert done.stderr == ""


@pytest.mark.timeout(30)
def test_a_pipe_in_place_of_the_log_is_not_waited_for(tmp_path: Path) -> None:
    path, mark = tmp_path / "log", tmp_path / "mark"
    os.mkfifo(path)
    mark.touch()
    keep_log(path, mark=mark)
    echo("said")
