"""Samples before they are written: crops, labelled crops, and their records."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from facemill.manifests import MaskKind, SampleRecord, VideoFacts
from facemill.manifests.exclusion import sample_id_of
from facemill.manifests.shards import EncodedSample
from facemill.pipeline.clips.clip import Clip
from facemill.pipeline.clips.items import ClipVideo
from facemill.pipeline.extract.comparison import FaceLabel
from facemill.pipeline.extract.cropper import Crop

__all__ = ["NO_IMAGE", "Candidate", "facts_of", "sample_of"]


NO_IMAGE = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A labelled crop whose pixels are being encoded."""

    crop: Crop
    face_label: FaceLabel
    mask_kind: MaskKind
    mask_coverage: float | None
    mask_iou: float | None
    image: Future[bytes]
    mask: Future[bytes]
    annotations: Mapping[str, Any]
    images: Mapping[str, Future[bytes]]


def sample_of(clip: Clip, video: ClipVideo, candidate: Candidate, size: int) -> EncodedSample:
    """Convert a candidate to a sample, once its pixels are encoded.

    Args:
        size: side of the crop, pixels.
    """
    entry, crop, image = video.entry, candidate.crop, candidate.image.result()
    paired = video is not clip.lead
    assert candidate.face_label.label is not None
    record = SampleRecord(
        sample_id=sample_id_of(entry.video_id, crop.frame_index, crop.track_id),
        video_id=entry.video_id,
        dataset=entry.dataset,
        method=entry.method,
        label=candidate.face_label.label,
        quality=entry.quality,
        split=entry.split,
        source_id=entry.source_id,
        subject_ids=entry.subject_ids,
        frame_index=crop.frame_index,
        pts_s=crop.pts_s,
        pair_offset=crop.frame_index - int(clip.indices[crop.position]) if paired else None,
        track_id=crop.track_id,
        bbox=tuple(crop.face.bbox.tolist()),
        landmarks=tuple(crop.face.landmarks.ravel().tolist()),
        score=float(crop.face.score),
        affine=tuple(crop.affine.ravel().tolist()),
        crop_size=size,
        mask_kind=candidate.mask_kind,
        mask_coverage=candidate.mask_coverage,
        mask_iou=candidate.mask_iou,
        label_source=candidate.face_label.source,
        difference=candidate.face_label.difference,
        shard="",
        row=-1,
        image_sha256=sha256(image).hexdigest(),
        attributes=entry.attributes,
        annotations=candidate.annotations,
    )
    images = {name: encoded.result() for name, encoded in candidate.images.items()}
    return EncodedSample(record, image, candidate.mask.result(), images)


def facts_of(clip: Clip, video: ClipVideo) -> VideoFacts:
    """Properties of a clip's video that were found by reading it."""
    info, alignment = video.reader.info, video.alignment
    times = None if video.is_sequence else video.reader.times
    return VideoFacts(
        video_id=video.video_id,
        width=info.width,
        height=info.height,
        frames=info.frame_count,
        fps=info.fps,
        variable_rate=info.variable_rate,
        codec=info.codec,
        rotation=info.rotation,
        pixel_aspect=float(info.pixel_aspect),
        interlaced=info.interlaced,
        colour_matrix=info.colour.matrix,
        colour_range=info.colour.range,
        cuts=tuple(clip.cuts) if video is clip.lead else (),
        alignment=None if alignment is None else alignment.kind,
        residual=None if alignment is None else alignment.residual,
        coded_width=info.coded_width,
        coded_height=info.coded_height,
        colour_primaries=info.colour.primaries,
        colour_transfer=info.colour.transfer,
        profile=info.profile,
        duration_s=None if times is None else float(times[-1] - times[0]) + (1 / info.fps if info.fps else 0.0),
        longest_gap_s=None if times is None else float(np.diff(times).max(initial=0.0)),
        size_bytes=None if video.is_sequence else video.file_bytes,
        content_hash=video.entry.content_hash,
    )
