"""A camera or stream that is watched: what happens now, for as long as it lasts.

    for answer in watch(model, "rtsp://camera/stream"):
        print(answer.labels[0], answer.lag_seconds)

Frames come from ``LiveVideo`` and answers from ``Stream``; a connection that breaks off is opened again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING

import torch

from slowfast_zoo.inference.engines import EngineName
from slowfast_zoo.inference.engines.optimize import OptimizedModel
from slowfast_zoo.inference.stream.stream import Stream, StreamResult
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.runtime.precision import Precision
from slowfast_zoo.video.clips import Views
from slowfast_zoo.video.decoding.live import LiveVideo

if TYPE_CHECKING:
    from slowfast_zoo.video.decoding.live import LiveSource


def watch(
    model: SlowFast | OptimizedModel,
    source: LiveSource,
    *,
    hop_seconds: float = 1.0,
    max_lag_seconds: float | None = None,
    on_result: Callable[[StreamResult], object] | None = None,
    views: Views = "quick",
    topk: int | None = 5,
    options: Mapping[str, str] | None = None,
    timeout_seconds: float = 10.0,
    retry_seconds: tuple[float, float] = (0.5, 30.0),
    device: str | torch.device | None = None,
    engine: EngineName = "auto",
    precision: Precision = "float32",
) -> Generator[StreamResult, None, None]:
    """What happens in front of a camera, as ``Stream`` tells it, until it ends or nobody asks any more.

    A connection that breaks off is opened again, for as long as it takes; the next answer's ``gap`` says so.
    Nothing is written to disk, and memory holds a window or two. What has an end (a file, which is played at
    its own speed; a pipe) ends the answers, the last one being about its last frames.

    Args:
        model: as for ``predict``.
        source: an address (rtsp, rtmp, http for MJPEG and HLS, udp, rtp, srt, tcp); a device
            (``/dev/video0``, or its number; on Windows ``video=NAME``); a pipe or binary file object; a file.
        hop_seconds: between the begins of two windows.
        max_lag_seconds: an answer that would be older is left out; None: whatever the hop and the network's
            time make of it.
        on_result: called with every answer as soon as it is there, by another thread; the iteration, which
            has to go on for frames to be read, gives it with the next frame.
        views: of each window, as for ``predict``, with one clip.
        topk: as for ``predict``.
        options: FFmpeg's for the source, such as ``{"rtsp_transport": "udp"}`` or, for a camera,
            ``{"video_size": "1280x720", "framerate": "30"}``.
        timeout_seconds: without anything new, after which a connection counts as lost.
        retry_seconds: the first and the longest pause before a lost connection is opened again.
        device: as for ``predict``.
        engine: as for ``predict``.
        precision: as for ``predict``.

    Raises:
        InputError: an argument or source that is not accepted.
        VideoError: there is no such file or device; while iterating: it can't be opened, or ends before its
            first frame, or what can't be opened again breaks off.
    """
    video = LiveVideo(source, options=options, timeout_seconds=timeout_seconds, retry_seconds=retry_seconds)
    stream = Stream(
        model,
        hop_seconds=hop_seconds,
        max_lag_seconds=max_lag_seconds,
        on_result=on_result,
        views=views,
        topk=topk,
        device=device,
        engine=engine,
        precision=precision,
    )
    return _watched(video, stream)


def _watched(video: LiveVideo, stream: Stream) -> Generator[StreamResult, None, None]:
    with video, stream:
        for frame in video:
            if (result := stream.push(frame.pixels, frame.seconds, gap=frame.gap)) is not None:
                yield result
        yield from stream.finish()
