"""Image sequences that represent a video: a folder of images, on disk or inside an archive.

The path of a sequence is that of its folder (in an archive, see `facemill.manifests.archives`).

If they are full frames (`VideoEntry.content`), a build treats them like the frames of a video: faces are detected,
tracked, cropped, and compared with the original. There is no clock: in place of a time, a frame has the last number in
its name, and a fake's frame 10 is compared with its original's frame 10, whatever images lie between. Fakes that are
forged at times only are labelled as a whole.

If they are face crops already, face detection is skipped: each image is one sample, uncropped and resized to
`crop.size`; `crop.scale`, `crop.align`, `crop.around` and `crop.steady` do not apply.
"""

from pathlib import PurePosixPath

from facemill.manifests.archives import split_archive
from facemill.manifests.records import VideoEntry
from facemill.manifests.scanning.listing import is_image, is_video

__all__ = ["holds_crops", "is_sequence"]


def is_sequence(path: str) -> bool:
    """Whether a video's path is that of an image sequence: a folder (without suffix, or inside an archive)."""
    packed = split_archive(path) is not None
    return not PurePosixPath(path).suffix or (packed and not is_video(path) and not is_image(path))


def holds_crops(entry: VideoEntry) -> bool:
    """Whether images are face crops already. Manifests from before `content` have sequences of crops only."""
    return entry.content == "crops" or (entry.content is None and is_sequence(entry.path))
