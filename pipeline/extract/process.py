"""From a clip's decoded windows to its samples: find people, cut their faces, choose whose to keep."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

from facemill.manifests import FailureRecord, FrameFaces, Reason, SampleRecord, Stage
from facemill.manifests.shards import EncodedSample
from facemill.pipeline.config.recipe import CropSettings, TrackSettings
from facemill.pipeline.extract.clip import Clip, ClipVideo, FrameWindow
from facemill.pipeline.extract.cut import Candidate, Cutter, Tools, VideoTally
from facemill.pipeline.extract.people import PeopleFinder
from facemill.pipeline.extract.track import Track, largest_person, most_forged_person

__all__ = ["ClipResult", "process_clip"]


@dataclass(slots=True)
class ClipResult:
    """What a clip gave, in a fixed order: videos as in the clip, frames and tracks ascending."""

    samples: list[EncodedSample]
    faces: list[FrameFaces]
    failures: list[FailureRecord]


def process_clip(clip: Clip, windows: Iterable[FrameWindow], tools: Tools) -> ClipResult:
    """Turn a clip's windows into encoded samples, detections and failures."""
    people = PeopleFinder(clip, tools.recipe.detect, tools.detector, tools.known_faces, tools.watch)
    cutter = Cutter(clip, tools)
    for window in windows:
        cutter.cut(window, people.look(window))
    wanted = _wanted_tracks(clip, people.tracks, cutter.tallies, tools.recipe.track)
    samples: list[EncodedSample] = []
    failures: list[FailureRecord] = list(clip.failures)
    with tools.watch("encode"):  # what the encoders have not finished yet
        for video in clip.videos:
            video_id = video.entry.video_id
            tally = cutter.tallies[video_id]
            chosen = [candidate for candidate in tally.candidates if candidate.track_id in wanted[video_id]]
            samples += [_sample(clip, video, candidate, tools.recipe.crop) for candidate in chosen]
            broken_off = sum(failure.frames for failure in clip.failures if failure.video_id == video_id)
            failures += _failures(video, tally, chosen, wanted[video_id], broken_off)
    return ClipResult(samples, people.detections, failures)


def _wanted_tracks(
    clip: Clip, tracks: list[Track], tallies: dict[str, VideoTally], settings: TrackSettings
) -> dict[str, set[int]]:
    """By video, the ids of the tracks to keep.

    Each fake has its own forged person; of the original everybody is kept whom some fake forges.
    """
    if settings.keep == "all":
        everybody = {track.track_id for track in tracks}
        return {video.entry.video_id: everybody for video in clip.videos}
    if settings.keep == "largest" or not (clip.fakes or clip.lead.entry.label):
        largest = largest_person(tracks)
        return {video.entry.video_id: largest for video in clip.videos}
    wanted = {
        video.entry.video_id: most_forged_person(tracks, tallies[video.entry.video_id].evidence)
        for video in (clip.fakes or [clip.lead])
    }
    return {clip.lead.entry.video_id: set().union(*wanted.values()), **wanted}


def _sample(clip: Clip, video: ClipVideo, candidate: Candidate, crop: CropSettings) -> EncodedSample:
    entry, image = video.entry, candidate.image.result()
    record = SampleRecord(
        sample_id=f"{entry.video_id}-f{candidate.frame_index:06d}-t{candidate.track_id}",
        video_id=entry.video_id,
        dataset=entry.dataset,
        method=entry.method,
        label=entry.label,
        quality=entry.quality,
        split=entry.split,
        source_id=entry.source_id,
        subject_ids=entry.subject_ids,
        frame_index=candidate.frame_index,
        pts_s=candidate.pts_s,
        pair_offset=None if video is clip.lead else video.offset,
        track_id=candidate.track_id,
        bbox=tuple(candidate.face.bbox.tolist()),
        landmarks=tuple(candidate.face.landmarks.ravel().tolist()),
        score=float(candidate.face.score),
        affine=tuple(candidate.affine.ravel().tolist()),
        crop_size=crop.size,
        mask_kind=candidate.mask_kind,
        mask_coverage=candidate.mask_coverage,
        mask_iou=candidate.mask_iou,
        shard="",
        row=-1,
        image_sha256=sha256(image).hexdigest(),
    )
    return EncodedSample(record, image, candidate.mask.result())


def _failures(
    video: ClipVideo, tally: VideoTally, chosen: list[Candidate], wanted: set[int], broken_off: int
) -> Iterator[FailureRecord]:
    """Every sampled frame of a video that gave no sample, or no mask, by reason.

    Args:
        broken_off: frames that are missing because the video broke off, which is on record already.
    """
    video_id, info = video.entry.video_id, video.reader.info
    sampled = tally.decoded + tally.undecoded

    def failure(stage: Stage, reason: Reason, frames: int, what: str) -> FailureRecord:
        return FailureRecord(video_id, stage, reason, f"{frames} of {sampled} sampled frames {what}.", frames)

    if not sampled:
        message = f"It holds {info.frame_count} frames, none of which its clip group has in common."
        yield FailureRecord(video_id, Stage.DECODE, Reason.TRUNCATED, message)
    if undecoded := tally.undecoded - broken_off:
        what = f"do not decode, or lie beyond the {info.frame_count} frames that the file holds"
        yield failure(Stage.DECODE, Reason.TRUNCATED, undecoded, what)
    elif (info.declared_frames or 0) > info.frame_count:
        message = f"The file holds {info.frame_count} of the {info.declared_frames} frames that its header claims."
        yield FailureRecord(video_id, Stage.DECODE, Reason.TRUNCATED, message)
    if tally.orphaned:
        yield failure(Stage.DETECT, Reason.TRUNCATED, tally.orphaned, "do not decode in its original")
    dropped = Counter(reason for (track_id, _), reason in tally.dropped.items() if track_id in wanted)
    for reason, frames in sorted(dropped.items()):
        yield failure(Stage.FILTER, reason, frames, f"were dropped by the filter: {reason.replace('_', ' ')}")
    with_face = {candidate.frame_index for candidate in chosen}
    with_face.update(frame for track_id, frame in tally.dropped if track_id in wanted)
    if faceless := tally.decoded - tally.orphaned - len(with_face):
        yield failure(Stage.DETECT, Reason.NO_FACE, faceless, "do not show the face that is wanted")
    if tally.without_mask:
        yield failure(Stage.MASK, Reason.MASK_UNAVAILABLE, tally.without_mask, "have no official mask")
    if empty := sum(candidate.mask_coverage == 0 for candidate in chosen if video.entry.label == 1):
        yield failure(Stage.MASK, Reason.MASK_EMPTY, empty, "are fakes in whose crop the mask is empty")
