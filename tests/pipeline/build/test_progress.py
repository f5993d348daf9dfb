import io

import pytest
from rich.console import Console

from facemill.pipeline.build import progress as module
from facemill.pipeline.build.progress import BuildProgress
from facemill.pipeline.build.state import GroupDone, ShardFile, ShardResult

TABLE = ShardFile("t", 0, 0, "", "")


def shard(name: str, videos: int) -> ShardResult:
    return ShardResult(name, "train", "", "", None, TABLE, TABLE, TABLE, videos, 0, ())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_it_moves_by_group_and_counts_none_twice(clock: list[float]) -> None:
    shown = BuildProgress(Console(file=io.StringIO()))
    shown.begin(40)
    shown.group(GroupDone("train-000000", 5, 20, 1))
    shown.group(GroupDone("train-000000", 5, 20, 0))
    assert shown.counts() == {"videos": 10, "faces": 40, "failures": 1}
    shown.shard(shard("train-000000", 10), built=True)
    assert shown.counts() == {"videos": 10, "faces": 40, "failures": 1}
    assert shown.earlier == 0


def test_the_time_left_is_at_the_pace_of_this_run(clock: list[float]) -> None:
    """Of 100 videos, 90 are done already; one takes ten seconds."""
    shown = BuildProgress(Console(file=io.StringIO()))
    shown.begin(100)
    shown.shard(shard("train-000000", 90), built=False)
    assert shown.seconds_left() is None
    clock[0] = 10.0
    shown.group(GroupDone("train-000001", 1, 4, 0))
    assert shown.seconds_left() == pytest.approx(90.0)


def test_plain_lines_come_now_and_then_and_never_when_quiet(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    for quiet in (False, True):
        shown = BuildProgress(Console(file=io.StringIO()), quiet=quiet)
        shown.begin(30)
        for _ in range(30):
            clock[0] += 1.0
            shown.group(GroupDone("train-000000", 1, 2, 0))
        shown.shard(shard("train-000000", 30), built=True)
        lines = capsys.readouterr().err.splitlines()
        assert [line.split()[0] for line in lines] == ([] if quiet else ["10/30", "20/30", "30/30"])


def test_notes_are_for_those_who_watch_and_warnings_for_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="facemill")
    for quiet, printed in ((False, "note\nwarning\n"), (True, "warning\n")):
        console = Console(file=io.StringIO())
        shown = BuildProgress(console, quiet=quiet)
        shown.note("note")
        shown.warn("warning")
        assert console.file.getvalue() == printed
    assert caplog.messages == ["note", "warning"] * 2


def test_notes_reach_the_terminal_escaped() -> None:
    console = Console(file=io.StringIO(), width=200)
    BuildProgress(console).note("of [v1] \x1b[31mred")
    BuildProgress(console).warn("of [/x] \x1b]0;title\x07")
    assert console.file.getvalue() == "of [v1] \\x1b[31mred\nof [/x] \\x1b]0;title\\x07\n"
