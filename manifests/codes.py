"""The codes in facemill's files: where masks and labels come from, and why something yielded no sample."""

from enum import StrEnum

__all__ = ["Fault", "LabelSource", "MaskKind", "Reason", "Stage"]


class MaskKind(StrEnum):
    """Where a sample's forgery mask comes from."""

    DIFFERENCE = "difference"  # difference between the fake and its original
    OFFICIAL = "official"  # the dataset's ground-truth mask video
    ZEROS = "zeros"  # a real face: nothing is forged
    NONE = "none"  # a fake whose forged region is unknown
    UNRELIABLE = "unreliable"  # an untrustworthy difference mask: stored, but not to be used in losses


class LabelSource(StrEnum):
    """The evidence for the label of a face."""

    VIDEO = "video"  # the label of its video
    DIFFERENCE = "difference"  # difference from the original at this face in this frame
    MASK = "mask"  # the dataset's ground-truth mask at this face in this frame
    PERIODS = "periods"  # the dataset's times between which the fake's picture is forged


class Stage(StrEnum):
    """The processing stage in which a failure occurred."""

    DECODE = "decode"
    DETECT = "detect"
    TRACK = "track"
    MASK = "mask"
    LABEL = "label"
    FILTER = "filter"
    PROCESS = "process"


class Fault(StrEnum):
    """What must change before a failed video can yield samples."""

    FILE = "file"  # the video: the failure is final
    ENVIRONMENT = "environment"  # a disk, the network, memory, access rights
    FACEMILL = "facemill"  # the program


class Reason(StrEnum):
    """Why a video, or some of its frames, yielded no sample, and the cause.

    Attributes:
        fault: `Fault.FILE` unless the member states another.
    """

    fault: Fault

    def __new__(cls, code: str, fault: Fault = Fault.FILE) -> "Reason":
        member = str.__new__(cls, code)
        member._value_ = code
        member.fault = fault
        return member

    @property
    def retryable(self) -> bool:
        """Whether rerunning the command retries such a failure: true unless the file itself is the cause."""
        return self.fault is not Fault.FILE

    MISSING_FILE = "missing_file", Fault.ENVIRONMENT
    NO_ACCESS = "no_access", Fault.ENVIRONMENT
    NOT_FETCHED = "not_fetched", Fault.ENVIRONMENT  # a remote file: network, credentials or a missing package
    SYSTEM_ERROR = "system_error", Fault.ENVIRONMENT  # such as a disk's read error, or too many open files
    OUT_OF_MEMORY = "out_of_memory", Fault.ENVIRONMENT
    DECODE_TIMEOUT = "decode_timeout", Fault.ENVIRONMENT
    WORKER_KILLED = "worker_killed", Fault.ENVIRONMENT  # the process was killed while it read this video or its group
    WORKER_CRASHED = "worker_crashed"  # reading this video crashes the process
    UNREADABLE = "unreadable"
    NO_VIDEO_STREAM = "no_video_stream"
    TRUNCATED = "truncated"
    SIZE_MISMATCH = "size_mismatch"  # the frames of a fake and its original differ in size
    MISALIGNED = "misaligned"  # no time offset aligns a fake with its original
    UNMATCHED = "unmatched"  # a frame of the original that the fake lacks
    UNCERTAIN_TIME = "uncertain_time"  # a frame of the original whose counterpart in the fake is ambiguous
    MASK_EMPTY = "mask_empty"
    MASK_UNRELIABLE = "mask_unreliable"  # the fake differs from its original outside the face as well
    UNFORGED = "unforged"  # faces of a fake that equal those in its original, or outside its forged periods
    UNDECIDED = "undecided"  # faces of a fake that differ from the original by little more than coding noise
    AMBIGUOUS = "ambiguous"  # several people in a fake, and it is unknown which of them is forged
    TOO_BRIEF = "too_brief"  # a track detected in too few frames
    LOW_SCORE = "low_score"  # a track with low detection scores
    STILL_IMAGE = "still_image"  # a track that does not move: a still image of a face
    MASK_UNAVAILABLE = "mask_unavailable"  # the ground-truth mask cannot be read, or ends early
    NO_FACE = "no_face"
    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    NO_FORGED_REGION = "no_forged_region"  # the dataset's crops are around masks, and this face has none in any fake
    FILTERED = "filtered"  # by a filter of another package
    EXCLUDED = "excluded"  # by the list of ids that the recipe excludes
    INTERNAL_ERROR = "internal_error", Fault.FACEMILL
