"""Where one scene of a video ends and the next begins."""

from __future__ import annotations

from fractions import Fraction

import av.error
import av.filter
from av.video.frame import VideoFrame

_SCENE_SCORE = 10.0  # of FFmpeg's scdet, 0 to 100; its own default


class Cuts:
    """FFmpeg's own measure of a change of scene, from one frame to the next."""

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._kind: tuple[int, int, str] | None = None

    def is_cut(self, frame: VideoFrame) -> bool:
        kind = (frame.width, frame.height, frame.format.name)
        if self._graph is None or kind != self._kind:
            self._graph, self._kind = _scdet(frame), kind
        self._graph.vpush(frame)
        try:
            return "lavfi.scd.time" in self._graph.vpull().metadata
        except (av.error.BlockingIOError, av.error.EOFError):
            return False


def _scdet(frame: VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, 1000),
    )
    measure = graph.add("scdet", f"threshold={_SCENE_SCORE}")
    sink = graph.add("buffersink")
    source.link_to(measure)
    measure.link_to(sink)
    graph.configure()
    return graph
