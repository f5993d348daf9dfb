"""Deinterlacing: two fields recorded at two moments become one frame of the first moment."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import av

__all__ = ["deinterlaced"]


def deinterlaced(frames: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """Yield one frame per input frame, with its index; FFmpeg's `bwdif` filters those marked as interlaced.

    The filter uses the previous and the next frame, if they are present (not None, and not past an end). Frames must
    therefore be consecutive, or the result depends on which ones are passed.

    Args:
        frames: index and `av.VideoFrame`, or None if the frame does not decode.
    """
    graph: Any = None
    layout: tuple[int, int, str] | None = None
    waiting: deque[int] = deque()
    for index, frame in frames:
        before, layout = layout, frame and (frame.width, frame.height, frame.format.name)
        if layout != before:
            yield from _drained(graph, waiting)
            graph = layout and _graph(*layout, frame.time_base)
        if frame is None:
            yield index, None
            continue
        waiting.append(index)
        graph.vpush(frame)
        yield from _ready(graph, waiting)
    yield from _drained(graph, waiting)


def _graph(width: int, height: int, layout: str, time_base: Any) -> Any:
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(width=width, height=height, format=layout, time_base=time_base)
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph


def _ready(graph: Any, waiting: deque[int]) -> Iterator[tuple[int, Any]]:
    while waiting:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):  # the filter needs another frame; or it is drained
            return
        yield waiting.popleft(), frame


def _drained(graph: Any, waiting: deque[int]) -> Iterator[tuple[int, Any]]:
    if graph is not None:
        graph.vpush(None)
        yield from _ready(graph, waiting)
    yield from ((waiting.popleft(), None) for _ in range(len(waiting)))
