"""Stub."""

from collections.abc import Mapping, Sequence

from facemill.manifests import Reason
from facemill.pipeline.config.recipe import TrackSettings
from facemill.pipeline.extract.track import Track

__all__ = ["find_false_tracks"]


def find_false_tracks(tracks: Sequence[Track], samples: int, settings: TrackSettings) -> Mapping[int, Reason]:
    return {}
