"""`VideoReader`: exact frames by index."""

import gc
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from facemill.pipeline.config.sections import DecodeSettings
from facemill.pipeline.decode.decoded_frame import Observer
from facemill.pipeline.decode.decord_backend import check_decord_fits, read_with_decord
from facemill.pipeline.decode.frame import Colour, Frame, check_indices
from facemill.pipeline.decode.nvdec import nvdec_for
from facemill.pipeline.decode.probe import UNTAGGED, probe
from facemill.pipeline.decode.pyav import read_with_pyav
from facemill.pipeline.decode.source import LARGE_PIXELS, Deadline, blamed_on

__all__ = ["VideoReader"]

_DEFAULT = DecodeSettings()


class VideoReader(AbstractContextManager["VideoReader"]):
    """One video, opened and probed.

    Frames are uint8 RGB in display orientation, all of one size, and equal to those of a full sequential
    decode. The image of a frame that does not decode intact is None, even if FFmpeg conceals the damage (see
    `facemill.pipeline.decode.damage.tracker`).

    Args:
        path: a local file.
        settings: backend, timeout, and whether interlaced files are deinterlaced.
        threads: number of decoder threads.
        colour: replaces colour tags that the file lacks; for a fake, those of its original.
        device: torch's name of the GPU that decodes, if the settings ask for one.

    Raises:
        VideoError: missing_file, unreadable (also for HDR), no_video_stream or decode_timeout.
    """

    def __init__(
        self,
        path: str | Path,
        settings: DecodeSettings = _DEFAULT,
        *,
        threads: int = 1,
        colour: Colour = UNTAGGED,
        device: str = "cpu",
    ) -> None:
        self.path = Path(path)
        self._settings = settings
        self._threads = threads
        self._reads: WeakSet[Iterator[Frame]] = WeakSet()
        self._closed = False
        deadline = self._deadline()
        with blamed_on(self.path):
            self._probe = probe(self.path, deadline, colour)
        self.info = self._probe.info
        if self.info.coded_width * self.info.coded_height > LARGE_PIXELS:
            gc.collect()  # the first picture's side data was looked at, so that it holds itself
        if settings.backend == "decord":
            check_decord_fits(self.path, self._probe, deadline, threads)
        self._nvdec = nvdec_for(self.path, self._probe, settings.backend, device, deadline)

    @property
    def on_cpu(self) -> str:
        """Why the CPU decodes a file that the settings give to the GPU, as known so far; empty if it does not."""
        return "" if self._nvdec is None else self._nvdec.failure

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """Presentation time [frame_count] of every frame, seconds; at a constant rate if the file has no times."""
        timeline, fps = self._probe.timeline, self.info.fps
        return np.array([timeline.seconds(index, fps) for index in range(self.info.frame_count)], np.float64)

    def read(self, indices: Sequence[int], *, observer: Observer | None = None, every: bool = False) -> Iterator[Frame]:
        """Yield one frame per index, in order, decoded on demand; every call starts at the beginning of the file.

        Args:
            indices: ascending, without repetition, each from 0 to `info.frame_count - 1`.
            observer: called for every intact frame that is decoded, requested or not, in display order and
                before the frame is yielded. Frames that are not requested and that no other frame is predicted
                from are not decoded.
            every: decode these frames too, and continue to the end of the file.

        Raises:
            ValueError: at the call, for indices that are not as above, or a closed reader.
            VideoError: while iterating; decode_timeout if a frame takes longer than `timeout_s`, unreadable
                if the frame size changes.
        """
        if self._closed:
            raise ValueError(f"The reader of {self.path} is closed: open a new one.")
        chosen = check_indices(indices, self.info.frame_count)
        given = self.path, self._probe, chosen, self._deadline(), self._threads
        if self._settings.backend == "decord":
            frames = read_with_decord(*given, observer=observer, every=every)
        else:
            deinterlace = self._settings.deinterlace and self.info.interlaced
            frames = read_with_pyav(*given, observer=observer, every=every, deinterlace=deinterlace, nvdec=self._nvdec)
        self._reads.add(frames)
        return frames

    def close(self) -> None:
        """End all reads in progress; the file is open only during a read."""
        self._closed = True
        for frames in list(self._reads):
            frames.close()  # type: ignore[attr-defined]

    def __exit__(self, *error: object) -> None:
        self.close()

    def _deadline(self) -> Deadline:
        return Deadline(self.path, self._settings.timeout_s)
