"""The root folder shared by FaceForensics++ and DeepFakeDetection: folders by sequence, quality and kind."""

import re
from collections import defaultdict

from facemill.manifests.scanning.listing import Listing

__all__ = ["FOLDER", "QUALITY", "Masks", "is_mask", "plain_quality"]

QUALITY = r"(?P<quality>raw|c0|c23|c40)"
"""The folder of a quality; `c0` is an old name for `raw`."""
FOLDER = r"(?P<folder>videos|images|frames)"
"""The folder of videos, or of folders of frames: `images` as the authors' script extracts them."""
_MASK = re.compile(
    rf"manipulated_sequences/(?P<method>\w+)/masks/(?:(?P<quality>\w+)/)?{FOLDER}/(?P<stem>\w+)(?:\.mp4)?"
)


def plain_quality(folder: str) -> str:
    """Return `raw` for `c0`, and other names unchanged."""
    return "raw" if folder == "c0" else folder


def is_mask(path: str) -> bool:
    """Whether this is the path of a mask video."""
    return _MASK.fullmatch(path) is not None


class Masks:
    """The ground-truth mask videos: `manipulated_sequences/<method>/masks[/<quality>]/videos/<stem>.mp4`."""

    def __init__(self, listing: Listing) -> None:
        self._by_video: dict[tuple[str, str], dict[str | None, str]] = defaultdict(dict)
        for path in listing.paths:
            if match := _MASK.fullmatch(path):
                self._by_video[match["method"], match["stem"]][match["quality"]] = path

    def of(self, method: str, quality: str, stem: str) -> str | None:
        """The mask of a fake: one set serves all qualities, but a set of the same quality is preferred."""
        sets = self._by_video.get((method, stem), {})
        folder = next((name for name in (quality, None, *sets) if name in sets), None)
        return sets.get(folder)
