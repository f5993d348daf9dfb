"""Decoding on an NVIDIA GPU (NVDEC) with FFmpeg's hardware decoders. Not run on a GPU yet.

Only the decoder is another one: packets, timeline, skipped frames, checks and conversion are those of
`facemill.pipeline.decode.pyav`. Frames are copied from the GPU, in the planar layout of the CPU's decoders: FFmpeg
converts NV12 to RGB in another way than planar frames. They do not stay on the GPU, since all that follows but the face
detector (thumbnails, comparison, masks, crops) runs on the CPU, and the detector uploads batches of its own, shrunk.

A GPU conceals damage without an error. So it decodes only files in which the probe found no fault, and whose first
frames are those of the CPU. The CPU takes a video over at the first error, or at a frame that is missing or flagged.
Damage inside the packets of H.264, VP9 and AV1, which the CPU's decoders notice, causes none of that: this backend is
for files that are known to be intact, by a checksum or an earlier build.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import av
import cv2
from av.codec.hwaccel import HWAccel
from av.video.reformatter import VideoReformatter

from facemill.pipeline.decode.frame import Frame, VideoInfo
from facemill.pipeline.decode.orientation import UPRIGHT
from facemill.pipeline.decode.probe import Probe
from facemill.pipeline.decode.pyav import read_with_pyav
from facemill.pipeline.decode.source import Deadline

__all__ = ["Nvdec", "nvdec_for"]

LAYOUTS = frozenset({"yuv420p", "yuvj420p"})
"""Those of 4:2:0 with 8 bits. FFmpeg's conversion of 10 bits (P010) loses values of frames with odd sides."""
CODECS = frozenset({"h264", "hevc", "vp9", "av1"})
CHECKED = 4
"""First frames of a file that are decoded by the CPU as well: a keyframe, and some that are predicted from it."""
MOST_OFF = 2
"""Largest difference from the CPU's RGB values, of 255. Decoding is exact in all of these codecs."""
FASTER_FROM: Mapping[str, int] = {}
"""Least pixels of a frame, by codec, from which `auto` decodes on the GPU. Empty, so that `auto` is the CPU: which is
faster has not been measured on any card yet."""


class Nvdec:
    """The hardware decoder of one file.

    Args:
        device: torch's name of the GPU, such as `cuda:1`.

    Attributes:
        failure: why the CPU decodes the file instead; empty as long as the GPU does.
    """

    def __init__(self, device: str, info: VideoInfo) -> None:
        self.failure = ""
        self._device, self._info = device, info

    def accel(self) -> HWAccel | None:
        """What the file is opened with: FFmpeg's choice for AV1 is dav1d, which has no hardware decoder."""
        return None if self._info.codec == "av1" else _accel(self._device)

    def decoder(self, stream: Any) -> "_Planar":
        """The decoder of an opened file's stream; as a codec context, with `name`, `extradata` and `decode`."""
        return _Planar(_context(stream, self._info.codec, self._device), stream.codec_context, self._info, self.fail)

    def fail(self, error: Exception) -> None:
        """Leave the file to the CPU; the first reason is kept."""
        self.failure = self.failure or str(error) or type(error).__name__


class _Planar:
    """Decodes a stream's packets to planar frames."""

    def __init__(self, context: Any, own: Any, info: VideoInfo, fail: Callable[[Exception], None]) -> None:
        self.name, self.extradata = own.name, own.extradata
        self._context, self._fail = context, fail
        self._expected = "nv12", info.coded_width, info.coded_height
        self._reformatter = VideoReformatter()

    def decode(self, packet: Any) -> list[Any]:
        try:
            return [self._planar(frame) for frame in self._context.decode(packet)]
        except Exception as error:
            self._fail(error)
            raise

    def _planar(self, frame: Any) -> Any:
        found = frame.format.name, frame.width, frame.height
        if found != self._expected:
            raise ValueError("it returns {} of {}x{} instead of {} of {}x{}".format(*found, *self._expected))
        return self._reformatter.reformat(frame, format="yuv420p", threads=1)


def nvdec_for(path: Path, probed: Probe, backend: str, device: str, deadline: Deadline) -> Nvdec | None:
    """The hardware decoder of a file, checked with its first frames; None if the settings do not ask for it.

    Args:
        backend: `nvdec`, or `auto` for a decision by codec and size.
        device: of this worker; on `cpu` there is none.
    """
    info = probed.info
    pixels = info.coded_width * info.coded_height
    wanted = backend == "nvdec" or (backend == "auto" and pixels >= FASTER_FROM.get(info.codec, pixels + 1))
    if not wanted or not device.startswith("cuda"):
        return None
    nvdec = Nvdec(device, info)
    nvdec.failure = _unfit(probed)
    if nvdec.failure:
        return nvdec
    first = range(min(CHECKED, info.frame_count))
    try:
        by_gpu = list(read_with_pyav(path, probed, first, deadline, 1, nvdec=nvdec))
        if not nvdec.failure and not all(map(_alike, by_gpu, read_with_pyav(path, probed, first, deadline, 1))):
            nvdec.failure = f"its first frames differ from the CPU's by more than {MOST_OFF} of 255"
    except Exception as error:  # if the file is at fault, the CPU says so when it is read
        nvdec.fail(error)
    return nvdec


def _unfit(probed: Probe) -> str:
    """Why a file is not given to the GPU; empty if it is."""
    info, timeline = probed.info, probed.timeline
    if info.codec not in CODECS or info.pix_fmt not in LAYOUTS:
        return f"{info.codec} in {info.pix_fmt} is left to the CPU"
    if info.interlaced:
        return "interlaced video is left to the CPU"
    if info.codec == "av1" and probed.orientation != UPRIGHT:
        return "AV1 that is shown rotated is left to the CPU"
    if not timeline.by_pts or timeline.after_loss or (info.declared_frames or 0) > info.frame_count:
        return "the file is not whole, or its frames have no times"
    return ""


def _alike(one: Frame, other: Frame) -> bool:
    if one.image is None or other.image is None or one.image.shape != other.image.shape:
        return False
    return cv2.norm(one.image, other.image, cv2.NORM_INF) <= MOST_OFF


def _context(stream: Any, codec: str, device: str) -> Any:
    """The codec context that decodes a stream on a GPU."""
    if codec != "av1":
        return stream.codec_context
    context = av.CodecContext.create(codec, "r", _accel(device))
    context.extradata = stream.codec_context.extradata
    return context


def _accel(device: str) -> HWAccel:
    """The GPU, as FFmpeg takes it; RuntimeError if torch cannot use it."""
    import torch

    # FFmpeg would create a CUDA context for each file. It can share torch's, if that is this thread's current one while
    # the file is opened; asking for the primary context fails, since torch creates it with other flags.
    index = torch.device(device).index or 0
    torch.cuda.set_device(index)
    torch.zeros(1, device=f"cuda:{index}")  # a context is created when it is used
    return HWAccel("cuda", str(index), allow_software_fallback=False, options={"current_ctx": "1"})
