"""Following people through a video: combines tracking with cuts, descriptors and frames between the samples."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from facemill.detectors.face import Face
from facemill.pipeline.tracking.appearance import describe
from facemill.pipeline.tracking.portraits import Portrait, distances
from facemill.pipeline.tracking.rejoin import joined_ids
from facemill.pipeline.tracking.track import Track, Tracker, apart

__all__ = ["Follower"]

SOMEBODY_ELSE = 0.5
"""Distance from all portraits of a person at which an embedding shows somebody else."""

Image = NDArray[np.uint8]


class Follower:
    """Follows people over the sampled frames of one video, which are given in order.

    Args:
        detect: finds the faces of RGB images; called only for frames between samples, if links are ambiguous.
    """

    def __init__(self, detect: Callable[[Sequence[Image]], Sequence[Sequence[Face]]]) -> None:
        self._detect = detect
        self._tracker = Tracker()
        self._last = self._settled = -1
        self._shot = 0  # first sampled frame of this shot

    @property
    def tracks(self) -> list[Track]:
        """All people seen so far in a sampled frame."""
        return self._tracker.tracks

    def sample(
        self,
        frame_index: int,
        image: Image,
        faces: Sequence[Face],
        between: Mapping[int, Image] = MappingProxyType({}),
        cuts: Sequence[int] = (),
    ) -> list[Track]:
        """Add a sampled frame.

        Args:
            image: RGB [H, W, 3].
            faces: its faces, in pixels of `image`.
            between: frames between samples, by index; they may be downscaled.
            cuts: first frame of each shot except the first, ascending; no track crosses a cut.

        Returns:
            The track of each face, in the given order; it may be merged with another track until `settle`.
        """
        looks = [describe(image, face) for face in faces]
        if bisect_right(cuts, frame_index) > bisect_right(cuts, self._last):
            self._join()
            self._tracker.cut()
            self._shot = frame_index
        elif self._tracker.ambiguous(frame_index, faces, looks):
            since = [(index, between[index]) for index in sorted(between) if self._last < index < frame_index]
            self._look_between(image.shape[1], since)
        self._last = frame_index

        @cache
        def portrait(position: int) -> Portrait:
            return Portrait.of(image, faces[position])

        def refutes(track: Track, position: int) -> bool:
            if not track.album.portraits:
                return False
            return bool(distances(track.album.portraits, [portrait(position)]).min() > SOMEBODY_ELSE)

        separate = apart(faces)
        tracks = self._tracker.update(frame_index, faces, looks, refutes)
        for position, track in enumerate(tracks):
            if separate[position]:
                if track.album.wants():
                    track.album.add(portrait(position))
            elif not track.album.best:
                track.album.fallback = portrait(position)
        return tracks

    def settle(self) -> None:
        """Join tracks that show one person in one shot; afterwards the ids of all tracks so far are final."""
        self._join()
        self._settled = self._last

    def _join(self) -> None:
        shot = [track for track in self.tracks if track.last_seen >= self._shot]
        self._tracker.join(joined_ids(shot, self._settled))

    def _look_between(self, width: int, between: Sequence[tuple[int, Image]]) -> None:
        images = [small for _, small in between]
        for (index, small), found in zip(between, self._detect(images) if images else [], strict=True):
            scale = width / small.shape[1]
            looks = [describe(small, face) for face in found]
            self._tracker.glance(index, [_enlarged(face, scale) for face in found], looks)


def _enlarged(face: Face, scale: float) -> Face:
    return Face(face.bbox * np.float32(scale), face.score, face.landmarks * np.float32(scale))
