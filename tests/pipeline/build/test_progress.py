import io
import re

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


def test_counts_of_several_shards_add_up_and_those_of_an_earlier_run_do_not_count() -> None:
    shown = BuildProgress(Console(file=io.StringIO()), quiet=True)
    shown.begin(40)
    for name, failures in (("train-000000", 2), ("train-000001", 3)):
        shown.group(GroupDone(name, 5, 20, failures))
        shown.shard(shard(name, 5), built=True)
    shown.group(GroupDone("train-000002", 4, 8, 1))
    shown.shard(shard("train-000003", 10), built=False)
    assert shown.counts() == {"videos": 14, "faces": 48, "failures": 6}
    assert shown.earlier == 10


def test_a_shard_that_is_built_again_after_a_death_counts_once(clock: list[float]) -> None:
    """Its worker died with the shard half done; the other groups of the shard are told by nobody."""
    shown = BuildProgress(Console(file=io.StringIO()), quiet=True)
    shown.begin(30)
    shown.group(GroupDone("train-000000", 4, 16, 0))
    shown.shard(shard("train-000000", 10), built=True)
    assert (shown.counts()["videos"], shown.earlier) == (4, 6)
    clock[0] = 20.0
    assert shown.seconds_left() == pytest.approx(20.0 * 20 / 4)


def test_the_line_says_what_was_counted_and_how_fast(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="facemill")
    shown = BuildProgress(Console(file=io.StringIO()), quiet=True)
    shown.begin(30)
    clock[0] = 20.0
    shown.group(GroupDone("train-000000", 10, 50, 3))
    assert caplog.messages == ["10/30 videos  50 faces  2.5 faces/s  3 failures  0:00:40 left"]


def test_a_terminal_sees_a_bar_and_a_log_sees_lines(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="facemill")
    console = Console(file=io.StringIO(), force_terminal=True, width=120, get_time=lambda: clock[0])
    with BuildProgress(console) as shown:
        shown.begin(2)
        clock[0] = 80.0
        shown.group(GroupDone("train-000000", 2, 8, 0))
    *_, last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue()).split("\r")
    # The time since it began, then the time left.
    expected = "build ━ 2/2 videos 8 faces 0.1 faces/s 0 failures 0:01:20 0:00:00 left"
    assert re.sub("━+", "━", last).split() == expected.split()
    assert caplog.messages == ["2/2 videos  8 faces  0.1 faces/s  0 failures  0:00:00 left"]


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
