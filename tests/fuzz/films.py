"""Short videos of a face in the codecs and containers that occur: a real one and its fake of each."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import av
import cv2
import numpy as np
from skimage.data import astronaut

__all__ = ["FILMS", "encode", "face_frames", "make_films"]

FILMS: Mapping[str, tuple[str, Mapping[str, str], str | None]] = {
    "h264.mp4": ("libx264", {}, "aac"),
    "h264-fragmented.mp4": ("libx264", {"movflags": "frag_keyframe+empty_moov"}, None),
    "h264.mkv": ("libx264", {}, "aac"),
    "h264.ts": ("libx264", {}, "aac"),
    "h264.flv": ("libx264", {}, None),
    "hevc.mp4": ("libx265", {}, None),
    "vp8.webm": ("libvpx", {}, None),
    "vp9.webm": ("libvpx-vp9", {}, "libopus"),
    "av1.mp4": ("libsvtav1", {}, None),
    "av1.mkv": ("libsvtav1", {}, None),
    "mpeg4.avi": ("mpeg4", {}, None),
    "mjpeg.avi": ("mjpeg", {}, None),
    "mjpeg.mov": ("mjpeg", {}, None),
    "mpeg2.ts": ("mpeg2video", {}, "mp2"),
    "wmv2.wmv": ("wmv2", {}, None),
    "prores.mov": ("prores_ks", {}, None),
    "ffv1.mkv": ("ffv1", {}, None),
}
"""Encoder, options of the container, and encoder of a sound track, by name of the file."""
PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
FRAMES, SIDE = 12, 128
RATE_HZ = 48_000


def face_frames(*, fake: bool = False) -> np.ndarray:
    """Frames [12, 128, 128, 3] of a face that moves; of a fake, its middle is brighter."""
    photo = astronaut()
    if fake:
        photo[95:160, 195:255] = np.clip(photo[95:160, 195:255].astype(int) + 60, 0, 255)
    views = [photo[10 + t : 250 + t, 120 + 3 * t : 360 + 3 * t] for t in range(FRAMES)]
    return np.stack([cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for view in views])


def make_films(root: Path) -> dict[str, tuple[Path, Path]]:
    """Write all of `FILMS` below a new folder: the real video and its fake, by name."""
    root.mkdir(parents=True)
    films = {name: (root / f"real-{name}", root / f"fake-{name}") for name in FILMS}
    for name, (codec, options, sound) in FILMS.items():
        for path, fake in zip(films[name], (False, True), strict=True):
            encode(path, face_frames(fake=fake), codec, options, sound)
    return films


def encode(
    path: Path, frames: np.ndarray, codec: str, options: Mapping[str, str] | None = None, sound: str | None = None
) -> Path:
    """Frames [N, H, W, 3] as a video of 25 frames a second with a keyframe at every fourth.

    Args:
        options: of the container.
        sound: encoder of a track of silence.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=dict(options or {})) as output:
        stream = output.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.gop_size = PIXELS.get(codec, "yuv420p"), 4
        silence = _silence(output, sound, len(frames) / 25) if sound else iter(())
        for picture in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(next(silence, ()))
        output.mux(stream.encode())
        for packets in silence:
            output.mux(packets)
    return path


def _silence(output: "av.container.OutputContainer", sound: str, seconds: float) -> Iterator[list[av.Packet]]:
    track = output.add_stream(sound, rate=RATE_HZ, layout="stereo")

    def packets() -> Iterator[list[av.Packet]]:
        step = 1024
        for start in range(0, round(seconds * RATE_HZ), step):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * step), np.int16), format="s16", layout="stereo")
            frame.sample_rate, frame.pts = RATE_HZ, start
            yield track.encode(frame)
        yield track.encode()

    return packets()
