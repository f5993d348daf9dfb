import pytest

from facemill import ConfigError
from facemill.pipeline.build.early_stop import FIRST, EarlyStop
from facemill.pipeline.build.state import GroupDone


def group(videos: int, *blocked: str) -> GroupDone:
    return GroupDone("train-000000", videos, 0, 0, tuple((reason, f"It is {reason}.") for reason in blocked))


def test_most_of_the_first_videos_failing_for_one_reason_ends_the_build() -> None:
    stop = EarlyStop(1000)
    for _ in range(FIRST // 2 - 1):
        stop(group(2, "missing_file"))
    with pytest.raises(
        ConfigError, match=r"9 of the first 16 videos failed for the same reason, missing_file \(It is miss"
    ):
        stop(group(2, "missing_file", "missing_file"))


def test_half_of_them_do_not_nor_do_several_reasons_nor_what_comes_later() -> None:
    stop = EarlyStop(1000)
    for _ in range(FIRST // 2):
        stop(group(2, "missing_file"))
    for _ in range(100):
        stop(group(1, "missing_file"))
    stop = EarlyStop(1000)
    for number in range(FIRST):
        stop(group(1, ("missing_file", "no_access")[number % 2]))


def test_of_a_small_manifest_all_videos_count() -> None:
    stop = EarlyStop(3)
    stop(group(1))
    stop(group(1, "no_access"))
    with pytest.raises(ConfigError, match="2 of the first 3 videos"):
        stop(group(1, "no_access"))


def test_the_first_of_their_messages_is_quoted() -> None:
    stop = EarlyStop(2)
    first, second = (GroupDone("train-000000", 1, 0, 0, (("no_access", message),)) for message in ("This.", "That."))
    stop(first)
    with pytest.raises(ConfigError, match=r"no_access \(This\): fix"):
        stop(second)
