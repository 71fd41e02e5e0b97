"""A timeline's windows are what ``predict`` says of those parts; segments are cut where they should be."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from support.movies import moving_pattern, write_stamped, write_video
from support.small_nets import SMALL, make_model

from slowfast_zoo import ClipSpec, SegmentRules, Timeline, open_video, predict, timeline
from slowfast_zoo.errors import InputError, UnknownNameError, VideoError
from slowfast_zoo.inference.predict import Predictor
from slowfast_zoo.inference.segments import Windows, find_segments
from slowfast_zoo.inference.timeline import TimelineMaker
from slowfast_zoo.video.decoding.part import VideoPart
from slowfast_zoo.video.decoding.reader import stream
from slowfast_zoo.video.windows import Grid

FRAMES = moving_pattern(60, 40, 56)
SPEC = ClipSpec(num_frames=8, size=32, crop=32, test_crop=32)
VARIABLE = np.cumsum([0] + [20, 60, 33] * 19 + [400, 20]).tolist()


def answers(path: Path, **options: object) -> Timeline:
    return timeline(model(), path, progress=False, **options)  # type: ignore[arg-type]


def model(spec: ClipSpec = SPEC):  # type: ignore[no-untyped-def]
    made = make_model()
    made.clip_spec, made.labels = spec, tuple("abcdef")
    return made


@pytest.mark.parametrize("fps", [24, 25, Fraction(30000, 1001), 60], ids=str)
@pytest.mark.parametrize("views", ["quick", (1, 3)])
def test_a_window_is_what_predict_says_of_its_frames(
    fps: Fraction | int, views: str | tuple[int, int], tmp_path: Path
) -> None:
    path = write_stamped(
        tmp_path / "film.mkv", [round(1000 * index / fps) for index in range(60)], frames=FRAMES
    )
    net = model(SPEC.replace(time_base="fps-scaled", fps=30))
    answer = timeline(net, path, hop_seconds=0.3, views=views, progress=False)  # type: ignore[arg-type]
    with open_video(path) as video:
        rate = video.fps
        begins = [video.index_at(second) for second in answer.windows.start_seconds]
        ends = [video.index_at(second - 1e-3) + 1 for second in answer.windows.end_seconds]
    for row, first, stop in zip(answer.windows.probabilities, begins, ends, strict=True):
        one = predict(net, FRAMES[first:stop], fps=rate, views=views, topk=None)  # type: ignore[arg-type]
        scores = dict(zip(one.labels, one.scores, strict=True))
        assert np.allclose(row, [scores[label] for label in "abcdef"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("base", ["frames", "seconds"])
def test_with_a_variable_frame_rate_too(base: str, tmp_path: Path) -> None:
    path = write_stamped(tmp_path / "variable.mkv", VARIABLE, frames=FRAMES)
    spec = SPEC if base == "frames" else SPEC.replace(time_base="seconds", fps=30, sampling="pytorchvideo")
    net = model(spec)
    answer = timeline(net, path, hop_seconds=0.25, window_seconds=0.6, views=(2, 1), progress=False)
    assert len(answer.windows) > 4
    predictor = Predictor(net, views=(2, 1), topk=None)
    with open_video(path) as video:
        for row, start, end in zip(
            answer.windows.probabilities,
            answer.windows.start_seconds,
            answer.windows.end_seconds,
            strict=True,
        ):
            part = VideoPart(video, "part", start_seconds=start, end_seconds=end)
            one = predictor(part)  # type: ignore[arg-type]
            scores = dict(zip(one.labels, one.scores, strict=True))
            assert np.allclose(row, [scores[label] for label in "abcdef"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("count", [1, 14, 15, 16])
def test_videos_about_as_long_as_a_window(count: int) -> None:
    answer = timeline(model(), FRAMES[:count], fps=10, hop_seconds=1.0, progress=False)
    one = predict(model(), FRAMES[:15][:count], fps=10, topk=1)
    assert answer.topk(0.0, 1) == [(one.labels[0], pytest.approx(one.scores[0], abs=1e-6))]
    assert len(answer.windows) == (2 if count == 16 else 1)
    assert answer.duration_seconds == pytest.approx(count / 10) and answer.complete


def test_neither_batch_nor_company_changes_an_answer() -> None:
    one = timeline(model(), FRAMES, fps=10, hop_seconds=0.5, progress=False)
    other = timeline(model(), FRAMES, fps=10, hop_seconds=0.5, batch_size=3, progress=False)
    assert np.allclose(one.windows.probabilities, other.windows.probabilities, atol=1e-6, rtol=0)
    assert np.array_equal(one.windows.start_seconds, other.windows.start_seconds)


def test_a_run_that_is_interrupted_keeps_what_it_has() -> None:
    maker = TimelineMaker(model(), Grid(hop_seconds=0.2), SegmentRules(), fps=10)
    with maker.begin(FRAMES) as run:
        for window in run:
            if window.number == 2:
                break
        part = run.answer()
    assert len(part.windows) == 3 and not part.complete and "interrupted" in repr(part)


def test_a_damaged_file_lasts_as_long_as_what_decodes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4", FRAMES, fps=25, codec="mpeg4", pixels="yuv420p")
    content = bytearray(path.read_bytes())
    begin, end = content.find(b"mdat"), content.rfind(b"moov")
    cut = begin + (end - begin) * 6 // 10
    content[cut : end - 4] = bytes(end - 4 - cut)
    path.write_bytes(content)
    decoded = sum(1 for _ in stream(path))
    assert 10 < decoded < 60
    maker = TimelineMaker(model(), Grid(hop_seconds=0.2), SegmentRules())
    with maker.begin(path) as run:
        assert run.finish("", show=False).duration_seconds == pytest.approx(decoded / 25)
    assert run.answer().duration_seconds == pytest.approx(decoded / 25), "a closed video's too"


def seen(rows: list[list[float]], hop: float = 1.0) -> Windows:
    """Windows of two hops, a hop apart."""
    begin = np.arange(len(rows)) * hop
    return Windows(begin, begin + 2 * hop, np.array(rows, np.float32))


def found(rows: list[list[float]], multi_label: bool = False, **rules: object) -> list[tuple[object, ...]]:
    segments = find_segments(
        seen(rows),
        ("a", "b"),
        SegmentRules(**rules),
        multi_label=multi_label,  # type: ignore[arg-type]
    )
    return [
        (segment.label, segment.start_seconds, segment.end_seconds, round(segment.score, 3))
        for segment in segments
    ]


def test_a_segment_begins_at_enter_and_ends_below_leave() -> None:
    rows = [[s, 0.0] for s in (0.4, 0.6, 0.45, 0.5, 0.3, 0.45, 0.1)]
    assert found(rows, enter=0.5, leave=0.4) == [("a", 1.5, 4.5, pytest.approx(0.517, abs=1e-3))]
    assert found(rows, enter=0.5, leave=0.5) == [("a", 1.5, 2.5, 0.6), ("a", 3.5, 4.5, 0.5)]
    assert found(rows, enter=0.5, leave=0.5, max_gap_seconds=1) == [("a", 1.5, 4.5, 0.517)]
    assert found(rows, enter=0.5, leave=0.5, min_seconds=1.01) == []
    assert found(rows, enter=0.7) == []
    assert found(rows, enter=0.5, leave=0.4, labels=("b",)) == []


def test_another_class_ends_a_segment_where_it_is_more_probable() -> None:
    assert found([[0.45, 0.55], [0.5, 0.5]], enter=0.5, leave=0.5) == [("b", 0.0, 3.0, 0.525)]
    for multi_label in (False, True):
        assert len(found([[0.9, 0.0]], multi_label, enter=0.9)) == 1, "as near as float32 has it"


def test_the_first_and_last_segment_reach_the_ends() -> None:
    assert found([[0.9, 0.1]] * 3) == [("a", 0.0, 4.0, 0.9)]
    assert found([[0.9, 0.1]]) == [("a", 0.0, 2.0, 0.9)]


def test_classes_that_exclude_each_other_dont_overlap() -> None:
    rows = [[0.9, 0.1], [0.45, 0.55], [0.6, 0.4], [0.3, 0.3], [0.2, 0.8]]
    assert [row[:3] for row in found(rows, leave=0.35)] == [
        ("a", 0.0, 1.5),
        ("b", 1.5, 2.5),
        ("a", 2.5, 3.5),
        ("b", 4.5, 6.0),
    ]
    # What is too short goes; the gap that it leaves is closed, by whoever is more probable there.
    kept = {"leave": 0.35, "min_seconds": 1.2}
    assert [row[:3] for row in found(rows, **kept)] == [("a", 0.0, 1.5), ("b", 4.5, 6.0)]
    assert [row[:3] for row in found(rows, **kept, max_gap_seconds=1.9)] == [
        ("a", 0.0, 1.5),
        ("b", 3.5, 6.0),
    ]
    assert [row[:3] for row in found(rows, **kept, max_gap_seconds=2)] == [
        ("a", 0.0, 3.5),
        ("b", 3.5, 6.0),
    ]
    flicker = [[0.9, 0.1]] * 3 + [[0.2, 0.8]] + [[0.9, 0.1]] * 3
    assert [row[:3] for row in found(flicker, min_seconds=1.5, max_gap_seconds=1)] == [("a", 0.0, 8.0)]


def test_classes_that_come_together_overlap() -> None:
    rows = [[0.9, 0.1], [0.9, 0.9], [0.1, 0.9], [0.9, 0.9]]
    assert [row[:3] for row in found(rows, multi_label=True)] == [
        ("a", 0.0, 2.5),
        ("b", 1.5, 5.0),
        ("a", 3.5, 5.0),
    ]
    assert [row[:3] for row in found(rows, multi_label=True, max_gap_seconds=1)] == [
        ("a", 0.0, 5.0),
        ("b", 1.5, 5.0),
    ]


def test_smoothing_averages_over_neighbors() -> None:
    windows = seen([[0.0, 1.0], [0.9, 0.0], [0.0, 1.0]])
    assert np.array_equal(windows.smoothed(0.0), windows.probabilities)
    assert np.allclose(windows.smoothed(2.0)[:, 0], [0.45, 0.3, 0.45])


def test_wrong_rules_are_refused() -> None:
    with pytest.raises(InputError, match=r"leave is 0\.6 and enter 0\.5"):
        SegmentRules(enter=0.5, leave=0.6)
    for name in ("enter", "leave"):
        with pytest.raises(InputError, match=f"{name} is 0; accepted: a probability above 0"):
            SegmentRules(**{name: 0})
    with pytest.raises(InputError, match="min_seconds is -1; accepted"):
        SegmentRules(min_seconds=-1)
    for labels in ("a", 5, [1], []):
        with pytest.raises(InputError, match=r"labels is .*; accepted: a list of class names"):
            answers(Path("missing.mp4"), labels=labels)
    with pytest.raises(UnknownNameError, match="The model has no class 'z'"):
        answers(Path("missing.mp4"), labels=["z"])
    with pytest.raises(InputError, match="views are 2 clips, and a window is as long as one"):
        answers(Path("missing.mp4"), views=(2, 1))
    with pytest.raises(InputError, match="call timeline for each of many"):
        timeline(model(), ["a.mp4", "b.mp4"])  # type: ignore[arg-type]
    with pytest.raises(VideoError, match="has no frames in the part that was asked for: the video has"):
        timeline(model(), FRAMES, fps=10, start_seconds=99, progress=False)
    with pytest.raises(InputError, match=r"frame rate of .* isn't known: pass fps="):
        timeline(model(), FRAMES, progress=False)


def test_rules_take_numbers_of_any_kind() -> None:
    rules = SegmentRules(enter=np.float32(0.5), min_seconds=np.int64(2), labels=["a"])  # type: ignore[arg-type]
    assert rules == SegmentRules(enter=0.5, min_seconds=2, labels=("a",))
    assert {type(rules.enter), type(rules.min_seconds)} == {float}


def test_a_moment_that_is_no_time_is_refused() -> None:
    answer = timeline(model(), FRAMES, fps=10, progress=False)
    for seconds in (float("nan"), None, "x", True):
        with pytest.raises(InputError, match="accepted: a finite number"):
            answer.topk(seconds)  # type: ignore[arg-type]
    for k in (0, True, 2.0):
        with pytest.raises(InputError, match="k is"):
            answer.topk(1.0, k)  # type: ignore[arg-type]


def test_columns_are_plain_lists() -> None:
    answer = timeline(model(), FRAMES, fps=10, hop_seconds=1, enter=0.01, progress=False)
    columns = answer.to_columns()
    assert list(columns) == ["start_seconds", "end_seconds", "label", "score"]
    assert len({len(column) for column in columns.values()}) == 1 and columns["label"]
    with pytest.raises(InputError, match="rows is 'segment'; accepted: 'segments' or 'windows'"):
        answer.to_columns("segment")  # type: ignore[arg-type]
    windows = answer.to_columns("windows")
    assert list(windows) == ["start_seconds", "end_seconds", "center_seconds", *"abcdef"]
    assert windows["a"] == pytest.approx(answer.windows.probabilities[:, 0].tolist())
    assert answer.resegmented(SegmentRules(enter=1.0, leave=1.0)).segments == ()
    with pytest.raises(InputError, match="rules is None; accepted: SegmentRules"):
        answer.resegmented(None)  # type: ignore[arg-type]
    assert sum(score for _, score in answer.topk(1.0, 6)) == pytest.approx(1, abs=1e-5)


def test_a_multi_label_model_says_so() -> None:
    net = make_model(SMALL.replace(activation="sigmoid"))
    net.clip_spec = SPEC
    with torch.no_grad():
        net.classifier.bias.fill_(10)  # type: ignore[union-attr]
    answer = timeline(net, FRAMES, fps=10, progress=False)
    assert answer.multi_label and len(answer.segments) == 6
    assert answer.labels[0] == "class 0"
