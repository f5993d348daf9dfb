"""Stopping a build early if most of its first videos fail for the same fault of the environment."""

from collections import defaultdict

from facemill import ConfigError
from facemill.pipeline.build.state import GroupDone

__all__ = ["EarlyStop"]

FIRST = 16  # number of videos after which the failure rate is checked


class EarlyStop:
    """Checks the first groups that workers finish; called with each group, in any order.

    Args:
        videos: total number of videos.
    """

    def __init__(self, videos: int) -> None:
        self._first = min(FIRST, videos)
        self._seen = 0
        self._blocked: dict[str, list[str]] = defaultdict(list)

    def __call__(self, done: GroupDone) -> None:
        """Count a group.

        Raises:
            ConfigError: if more than half of the first videos failed for the same reason.
        """
        if self._seen >= self._first:
            return
        self._seen += done.videos
        for reason, message in done.blocked:
            self._blocked[reason].append(message)
        for reason, messages in self._blocked.items():
            if self._seen >= self._first and 2 * len(messages) > self._seen:
                raise ConfigError(
                    f"{len(messages)} of the first {self._seen} videos failed for the same reason, {reason} "
                    f"({messages[0].removesuffix('.')}): fix that and run the same command again."
                )
