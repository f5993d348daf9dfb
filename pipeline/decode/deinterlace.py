"""Deinterlacing: the two fields of a picture, taken at two moments, become one picture of the first moment."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import av

__all__ = ["deinterlaced"]


def deinterlaced(pictures: Iterator[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """As many pictures as are given, with their indices; those marked as interlaced pass through FFmpeg's `bwdif`.

    The filter looks at the picture before and the one after. Where either is missing (None, or the end), it does
    with what there is, so that the pictures given must be consecutive for the result not to depend on their choice.

    Args:
        pictures: index and `av.VideoFrame`, or None where it does not decode.
    """
    graph: Any = None
    layout: tuple[int, int, str] | None = None
    waiting: deque[int] = deque()
    for index, picture in pictures:
        before, layout = layout, picture and (picture.width, picture.height, picture.format.name)
        if layout != before:
            yield from _drained(graph, waiting)
            graph = layout and _graph(*layout, picture.time_base)
        if picture is None:
            yield index, None
            continue
        waiting.append(index)
        graph.vpush(picture)
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
            picture = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):  # it waits for the next picture; there is none
            return
        yield waiting.popleft(), picture


def _drained(graph: Any, waiting: deque[int]) -> Iterator[tuple[int, Any]]:
    if graph is not None:
        graph.vpush(None)
        yield from _ready(graph, waiting)
    yield from ((waiting.popleft(), None) for _ in range(len(waiting)))
