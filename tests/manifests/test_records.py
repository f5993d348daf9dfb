"""What records say of themselves where nothing else is given."""

from facemill.manifests import FailureRecord, Reason, Stage, VideoEntry, from_table
from facemill.manifests.schemas import FAILURES, VIDEOS, to_table


def test_a_failure_is_of_a_whole_video_unless_frames_are_counted() -> None:
    whole = FailureRecord("a", Stage.DECODE, Reason.UNREADABLE, "Not a video.")
    some = FailureRecord("a", Stage.DECODE, Reason.UNREADABLE, "Damaged.", frames=3)
    assert (whole.frames, some.frames) == (0, 3)
    assert from_table(to_table([whole, some], FAILURES), FailureRecord) == [whole, some]


def test_whether_a_failure_is_retried_follows_from_its_reason() -> None:
    for reason, retried in ((Reason.MISSING_FILE, True), (Reason.UNREADABLE, False)):
        for given in (True, False):
            assert FailureRecord("a", Stage.DECODE, reason, "", retryable=given).retryable == retried


def test_a_video_of_which_nothing_more_is_said_is_read_as_it_was_written() -> None:
    entry = VideoEntry("a", "d", "swap", 1, "c23", "train", "/r", "a.mp4")
    assert (entry.subject_ids, entry.attributes, entry.forged_at(1.0)) == ((), (), None)
    assert from_table(to_table([entry], VIDEOS), VideoEntry) == [entry]
