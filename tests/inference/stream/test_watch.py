"""Watching: answers go on through whatever happens to a camera, and say so."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.cameras import MjpegServer, PacedPipe, RtspServer, rtsp_python
from support.movies import moving_pattern, write_video
from support.small_nets import SMALL, make_model

from slowfast_zoo import ClipSpec, SlowFast, save_pretrained
from slowfast_zoo.cli import main
from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.inference.stream.stream import StreamResult
from slowfast_zoo.inference.stream.watch import watch

# Windows has no such paths.
NO_CAMERA = "doesn't exist" if sys.platform == "win32" else "There is no camera '/dev/video99'."
FAST = {"timeout_seconds": 5.0, "retry_seconds": (0.05, 0.2)}


@pytest.fixture(scope="module")
def model() -> SlowFast:
    small = make_model(SMALL)
    small.clip_spec = ClipSpec(num_frames=8, frame_stride=1, size=32, crop=32, test_crop=32)
    return small


def until_gap(answers: Iterator[StreamResult]) -> list[StreamResult]:
    found = [next(answers)]
    while not found[-1].gap:
        found.append(next(answers))
    return found


@pytest.mark.skipif(rtsp_python() is None, reason="no GStreamer RTSP server: gir1.2-gst-rtsp-server-1.0")
def test_answers_go_on_when_an_rtsp_server_is_killed_and_started_again(model: SlowFast) -> None:
    python = rtsp_python()
    assert python is not None
    with RtspServer(python) as server:
        answers = watch(model, server.url, hop_seconds=0.2, **FAST)
        before = list(itertools.islice(answers, 3))
        server.kill()
        server.start()
        after = [*until_gap(answers), next(answers)]
        answers.close()
    assert not any(answer.gap for answer in before)
    seconds = [answer.window.start_seconds for answer in before + after]
    assert seconds == sorted(seconds)
    gap = after[-2].window.start_seconds - (before + after)[-3].window.end_seconds
    assert gap > 0 and not after[-1].gap


def test_answers_go_on_when_an_mjpeg_server_is_killed_and_started_again(model: SlowFast) -> None:
    with MjpegServer() as server:
        answers = watch(model, server.url, hop_seconds=0.1, **FAST)
        assert not any(answer.gap for answer in itertools.islice(answers, 3))
    with MjpegServer(port=server.port):
        after = until_gap(answers)
        assert not next(answers).gap
        answers.close()
    assert len(after) <= 4


def test_a_paced_pipe_is_watched_to_its_last_frames(model: SlowFast, tmp_path: Path) -> None:
    film = write_video(
        tmp_path / "film.ts", moving_pattern(60, 48, 64), fps=25, codec="mpeg2video", pixels="yuv420p"
    )
    pipe = PacedPipe(film)
    told: list[StreamResult] = []
    thread = pipe.run()
    with pipe.reader:
        answers = list(watch(model, pipe.reader, hop_seconds=0.2, on_result=told.append))
    thread.join()
    assert answers == told
    assert answers[-1].window.frames.stop == 60
    assert sum(1 + answer.skipped_hops for answer in answers) == 12


def test_arguments_are_checked_before_anything_is_opened(model: SlowFast, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hop_seconds is 0"):
        watch(model, "rtsp://127.0.0.1:1/", hop_seconds=0)
    with pytest.raises(VideoError, match=NO_CAMERA):
        watch(model, "/dev/video99")
    answers = watch(model, "http://127.0.0.1:1/", **FAST)
    with pytest.raises(VideoError, match="Connection refused"):
        next(answers)


def test_the_command_prints_lines_of_json(model: SlowFast, tmp_path: Path) -> None:
    saved = save_pretrained(model, tmp_path / "model")
    film = write_video(tmp_path / "film.mkv", moving_pattern(30, 48, 64), fps=60)
    command = ["watch", str(film), "--model", str(saved or tmp_path / "model"), "--hop", "0.2", "--topk", "2"]
    ran = CliRunner().invoke(main, [*command, "--jsonl"])
    assert ran.exit_code == 0, ran.output
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert rows[0]["start_seconds"] == 0 and len(rows[0]["labels"]) == 2
    assert rows[-1]["end_seconds"] == pytest.approx(0.5, abs=2e-3)
    assert time.strptime(rows[0]["time"][:19], "%Y-%m-%dT%H:%M:%S")
    assert "s old" in CliRunner().invoke(main, command).stdout
    ran = CliRunner().invoke(main, [*command, "--option", "rtsp_transport"])
    assert ran.exit_code == 1 and "--option is NAME=VALUE" in ran.output
    ran = CliRunner().invoke(main, ["watch", "/dev/video99", "--model", str(tmp_path / "model")])
    assert ran.exit_code == 1 and NO_CAMERA in ran.output
