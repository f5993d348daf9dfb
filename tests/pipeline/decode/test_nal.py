"""What a stream's extradata say of its packets."""

import pytest

from facemill.pipeline.decode.nal import length_size


@pytest.mark.parametrize(
    ("extradata", "at", "size"),
    [
        (bytes([1, 100, 0, 31, 0xFF, 0xE1]), 4, 4),
        (bytes([1, 100, 0, 31, 0xFC]), 4, 1),
        (bytes([1, *[0] * 20, 0xFD]), 21, 2),
        (bytes([0, 0, 0, 1, 0x67]), 4, 0),  # start codes
        (bytes([1, 100, 0, 31]), 4, 0),  # cut short
        (b"", 4, 0),
        (None, 21, 0),
    ],
)
def test_the_size_of_a_length_is_where_the_configuration_has_it(extradata: bytes | None, at: int, size: int) -> None:
    assert length_size(extradata, at) == size
