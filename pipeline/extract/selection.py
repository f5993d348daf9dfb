"""`TrackSelection`: which tracks become samples."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facemill.manifests import FailureRecord, LabelSource, Reason, Stage
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import ClipVideo
from facemill.pipeline.config.sections import TrackSettings
from facemill.pipeline.extract.comparison import FaceLabel
from facemill.pipeline.tracking.false_tracks import find_false_tracks
from facemill.pipeline.tracking.track import Track, largest_person

__all__ = ["TrackSelection"]


class TrackSelection:
    """Chooses the tracks to keep for each video of one clip, by the recipe's `track.keep`.

    `forged`: in a fake, all tracks that differ from its original (or that its ground-truth mask marks); in the
    original, all tracks that are forged in any fake. If it is unknown which track is forged, and in real videos without
    fakes, the largest and steadiest face. `largest`: that face in all videos. `all`: all tracks; but in a fake whose
    only label is that of the video, the largest face alone, since the others may be bystanders.
    """

    def __init__(self, clip: Clip, settings: TrackSettings) -> None:
        self._clip, self._settings = clip, settings
        self._tracks: Sequence[Track] = ()
        self._false: Mapping[int, Reason] = {}
        self._complete = False
        self._forged: dict[str, set[int]] = defaultdict(set)
        self._by_name: dict[str, set[int]] = defaultdict(set)
        """Tracks labelled by the video's label only."""

    def see(self, tracks: Sequence[Track], patches: Mapping[int, Sequence[NDArray[np.uint8]]], *, last: bool) -> None:
        """Update with all tracks so far and patches of their faces; `last`: no further window follows."""
        self._tracks = tracks
        self._complete = last
        if last and not self._clip.lead.is_crops:
            shots = np.searchsorted(self._clip.cuts, self._clip.indices, side="right")
            sizes = np.bincount(shots)
            first = {track.track_id: min(track.faces) for track in tracks}
            possible = {
                track_id: int(sizes[np.searchsorted(self._clip.cuts, frame, side="right")])
                for track_id, frame in first.items()
            }
            self._false = find_false_tracks(tracks, possible, patches, self._settings)

    def take_labels(self, video: ClipVideo, labels: Mapping[tuple[int, int], FaceLabel]) -> None:
        """Update with the label of each face of a fake, by position and track."""
        for (_, track_id), label in labels.items():
            if label.is_forged:
                self._forged[video.video_id].add(track_id)
            elif label.source == LabelSource.VIDEO:
                self._by_name[video.video_id].add(track_id)

    def may_keep(self, track_id: int) -> bool:
        """Whether some video may keep a track, as far as is known so far."""
        if not self._complete:
            return True
        if self._settings.keep == "largest":
            return track_id in self._largest()
        return track_id not in self._false

    def may_still_keep(self, video: ClipVideo, track_id: int) -> bool:
        """Likewise for one video, labelled as far as it was read; for the lead, once all of its fakes are labelled."""
        return not self._complete or track_id in self.wanted(video)

    def wanted(self, video: ClipVideo) -> set[int]:
        """Ids of the tracks of a video that are kept."""
        candidates = {track.track_id for track in self._tracks} - set(self._false)
        forged = self._forged[video.video_id] & candidates
        if self._settings.keep == "largest":
            return self._largest()
        if video.entry.label == 0:
            if self._settings.keep == "all":
                return candidates
            return set().union(*map(self.wanted, self._clip.following)) or self._largest()
        if not forged and self._by_name[video.video_id]:
            return self._largest()
        return forged if self._settings.keep == "forged" else candidates

    def failures(self, video: ClipVideo) -> Iterator[FailureRecord]:
        """Yield failure records about a video's tracks."""
        if video is self._clip.lead:
            by_reason: dict[Reason, list[int]] = defaultdict(list)
            for track in self._tracks:
                if track.track_id in self._false:
                    by_reason[self._false[track.track_id]].append(len(track.faces))
            for reason, faces in sorted(by_reason.items()):
                message = f"{len(faces)} tracks ({sum(faces)} faces) were left out: {reason.replace('_', ' ')}."
                yield FailureRecord(video.video_id, Stage.TRACK, reason, message, sum(faces))
        others = self._beside(self._largest())
        if video.entry.label == 1 and others and self._by_name[video.video_id] and not self._forged[video.video_id]:
            message = f"It is unknown which of {1 + len(others)} people is forged: only the largest face is kept."
            yield FailureRecord(video.video_id, Stage.LABEL, Reason.AMBIGUOUS, message)

    def _largest(self) -> set[int]:
        return largest_person([track for track in self._tracks if track.track_id not in self._false])

    def _beside(self, chosen: set[int]) -> set[int]:
        """Tracks seen in the same frames as the chosen ones."""
        frames = {frame for track in self._tracks if track.track_id in chosen for frame in track.faces}
        left = [track for track in self._tracks if track.track_id not in chosen and track.track_id not in self._false]
        return {track.track_id for track in left if not frames.isdisjoint(track.faces)}
