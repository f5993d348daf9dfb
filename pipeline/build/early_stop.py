"""Stopping a build at once whose first videos mostly fail for one reason of the environment's."""

from collections import defaultdict

from facemill import ConfigError
from facemill.pipeline.build.state import GroupDone

__all__ = ["EarlyStop"]

FIRST = 16
"""Videos after which the failure rate is first looked at."""


class EarlyStop:
    """Called with what workers are through with, in any order.

    Args:
        videos: how many there are in all.
    """

    def __init__(self, videos: int) -> None:
        self._first = min(FIRST, videos)
        self._seen = 0
        self._blocked: dict[str, list[str]] = defaultdict(list)

    def __call__(self, done: GroupDone) -> None:
        """Take in a group.

        Raises:
            ConfigError: if more than half of the first videos failed for one reason.
        """
        if self._seen >= self._first:
            return
        self._seen += done.videos
        for reason, message in done.blocked:
            self._blocked[reason].append(message)
        for reason, messages in self._blocked.items():
            if self._seen >= self._first and 2 * len(messages) > self._seen:
                raise ConfigError(
                    f"{len(messages)} of the first {self._seen} videos failed for one reason, {reason} "
                    f"({messages[0].removesuffix('.')}): mend that and run the same command again."
                )
