"""Shards: files of samples, in any registered format."""

from pathlib import PurePath

from facemill import DatasetError
from facemill.manifests.shards.base import EncodedSample, ShardFormat, ShardWriter
from facemill.registry import SHARD_FORMATS

__all__ = ["EncodedSample", "ShardFormat", "ShardWriter", "format_of"]


def format_of(path: PurePath | str) -> ShardFormat:
    """The format of a shard, by its suffix.

    Raises:
        DatasetError: for an unknown suffix.
    """
    suffix = PurePath(path).suffix
    for known in SHARD_FORMATS.values():
        if known.suffix == suffix:
            return known
    raise DatasetError(
        f"{path} is not a shard: the known suffixes are {', '.join(f.suffix for f in SHARD_FORMATS.values())}."
    )
