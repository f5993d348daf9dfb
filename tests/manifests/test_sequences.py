from pathlib import PurePosixPath

import pytest

from facemill.manifests import VideoEntry
from facemill.manifests.scanning.listing import is_image
from facemill.manifests.sequences import holds_crops, is_sequence


def test_names_tell_images_and_sequences():
    assert is_image("x/1.PNG")
    assert not is_image("x/1.mp4")
    assert not is_image("x/._1.png")
    assert is_sequence("x/1.tar.gz/0")
    assert is_sequence("x/1.zip/clip.v2")
    assert is_sequence("x/0")
    assert not is_sequence("x/0.mp4")
    assert not is_sequence("x/1.zip/0.mp4")
    assert not is_sequence("x/1.zip/0.png")


@pytest.mark.parametrize(
    ("path", "content", "crops"),
    [
        ("a/0", None, True),  # as in manifests from before this column
        ("1.tar.gz/0", None, True),
        ("a/0", "frames", False),
        ("a/0", "crops", True),
        ("a.mp4", None, False),
        ("1.zip/a.mp4", None, False),
        ("a.png", None, False),
        ("a.png", "crops", True),
    ],
)
def test_what_a_video_holds(path, content, crops):
    name = PurePosixPath(path).stem
    entry = VideoEntry(name, "d", "real", 0, "native", "test", "/r", path, content=content)
    assert holds_crops(entry) == crops
