"""What is drawn: the right frames, readable text, whole files, and one sentence where it can't be."""

from __future__ import annotations

import dataclasses
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support.movies import moving_pattern, write_stamped, write_video

from slowfast_zoo.cli import main
from slowfast_zoo.errors import InputError, VideoError
from slowfast_zoo.inference.predict import Prediction, predict
from slowfast_zoo.inference.render import drawing
from slowfast_zoo.inference.render import render as render_module
from slowfast_zoo.inference.render.drawing import Overlay, as_bytes, fitted, output_size
from slowfast_zoo.inference.render.render import contact_sheet, render
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.video.decoding.reader import open_video, probe
from slowfast_zoo.video.transforms.functional import normalize
from slowfast_zoo.weights.catalog import get_weights
from slowfast_zoo.weights.saved.folder import save_pretrained

ANSWER = Prediction(
    source="x",
    labels=("arm wrestling", "a label that is a good deal longer than any panel is wide", "drinking"),
    scores=(0.93, 0.05, 0.0004),
    views=(1, 1),
    seconds=(0.4, 1.2),
)
AMBER = np.array(drawing.ACCENT)


def small_model() -> SlowFast:
    model = SlowFast(ModelSpec(depth=14, base_width=16, num_frames=8, alpha=4, num_classes=3))
    model.clip_spec = ClipSpec(num_frames=8, size=40, crop=32, test_crop=32)
    model.labels = ("one", "two", "three")
    return model


def flat(frames: int, height: int, width: int, level: int) -> np.ndarray:
    return np.full((frames, height, width, 3), level, np.uint8)


def amber(picture: np.ndarray) -> np.ndarray:
    """Where a picture has the color of bars and borders."""
    return np.abs(picture.astype(int) - AMBER).max(axis=-1) < 40


# --- video ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width"), [(50, 50), (33, 51), (20, 400), (300, 24), (360, 640), (641, 359), (8, 8)]
)
@pytest.mark.parametrize("level", [0, 255])
def test_any_shape_and_background_stays_readable(height: int, width: int, level: int, tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    assert render(ANSWER, flat(3, height, width, level), out, fps=5) is ANSWER
    with open_video(out) as video:
        assert (video.num_frames, video.fps) == (3, 5)
        assert (video.width % 2, video.height % 2) == (0, 0)
        assert max(video.width, video.height) <= 1280
        assert video.width / video.height == pytest.approx(width / height, rel=0.15)
        picture = video.frames([1])[0].astype(int)
    panel = picture[-24:, :, :].max(axis=-1)
    # White letters on something much darker, whatever is behind the panel.
    assert panel.max() > 180
    assert np.median(panel) < 110
    assert np.abs(picture[: video.height // 12] - level).max() < 12


def test_the_picture_above_the_panel_is_the_videos(tmp_path: Path) -> None:
    t, y, x = np.ogrid[:12, :360, :480]
    smooth = np.stack([x // 2 + 0 * (t + y), 255 - y // 2 + 0 * (t + x), 20 * t + 0 * (x + y)], axis=-1)
    source = write_video(tmp_path / "in.mkv", smooth.astype(np.uint8), fps=12)
    render(ANSWER, source, tmp_path / "out.mp4")
    with open_video(source) as before, open_video(tmp_path / "out.mp4") as after:
        assert after.info.fps == before.info.fps
        assert (after.num_frames, after.width, after.height) == (12, 480, 360)
        difference = np.abs(before.frames(range(12))[:, :180].astype(int) - after.frames(range(12))[:, :180])
    assert difference.mean() < 3  # a neighboring frame would cost 7, another color matrix too
    assert difference.max() < 16


def test_large_videos_shrink_and_tiny_ones_grow() -> None:
    def size(width: int, height: int) -> tuple[int, int]:
        return output_size(width, height, smallest=240, largest=1280)

    assert size(1920, 1080) == (1280, 720)
    assert size(2160, 3840) == (720, 1280)
    assert size(340, 256) == (340, 256)
    assert size(50, 50) == (240, 240)
    assert size(401, 21) == (1280, 68)
    assert size(5000, 2) == (1280, 16)


def test_bars_have_the_length_of_their_probability() -> None:
    overlay = Overlay(width=640, height=360, rows=(("a", 1.0), ("b", 0.5), ("c", 0.0)))
    picture = np.asarray(overlay.draw(flat(1, 360, 640, 0)[0], 0.0, 0.0))
    widths = amber(picture).sum(axis=1)
    rows = [part.max() for part in np.split(widths, np.flatnonzero(widths == 0)) if part.any()]
    assert len(rows) == 3
    full, half, none = (int(row) for row in rows)
    assert full > 60
    assert half / full == pytest.approx(0.5, abs=0.02)
    assert none <= 2


def test_the_time_line_shows_what_was_looked_at_and_where_we_are() -> None:
    overlay = Overlay(width=600, height=300, rows=(("a", 0.0),), span=(0.25, 0.5))
    first, last = (np.asarray(overlay.draw(flat(1, 300, 600, 0)[0], at, at)) for at in (0.0, 1.0))
    line = first[-8:, 100:500]
    looked = np.flatnonzero(amber(line).any(axis=0)) + 100
    assert looked.min() == pytest.approx(150, abs=8)
    assert looked.max() == pytest.approx(300, abs=8)
    white_first = np.flatnonzero((first[-10:] > 240).all(axis=-1).any(axis=0))
    white_last = np.flatnonzero((last[-10:] > 240).all(axis=-1).any(axis=0))
    assert white_first.max() < 30
    assert white_last.min() > 570
    for width, said in ((600, True), (290, False)):  # in words where there is room beside the rows
        told = dataclasses.replace(overlay, width=width, seconds="4.2-5.8 s")
        right = np.asarray(told.draw(flat(1, 300, width, 0)[0], 0.0, 0.0))[:-8, -60:]
        assert bool(amber(right).any()) == said


def test_text_fits() -> None:
    for width in (0, 10, 60, 200):
        for text in ("short", "a label that is a good deal longer than any panel", "名前", "two\nlines"):
            cut = fitted(text, width, 14)
            assert "\n" not in cut
            assert cut in ("...", " ".join(text.split())) or drawing.font_of(14).getlength(cut) <= width


def test_a_model_is_asked_and_its_answer_returned(tmp_path: Path) -> None:
    model, video = small_model().train(), moving_pattern(20, 40, 60)
    answer = render(model, video, tmp_path / "a.mp4", fps=10, topk=2, views=(2, 1))
    assert answer == predict(model, video, fps=10, topk=2, views=(2, 1))
    assert len(answer.labels) == 2
    assert model.training
    assert probe(tmp_path / "a.mp4").num_frames == 20


def test_a_part_of_the_video(tmp_path: Path) -> None:
    ramp = np.arange(0, 200, 4, dtype=np.uint8)[:, None, None, None] + flat(50, 240, 320, 0)
    source = write_video(tmp_path / "in.mkv", ramp, fps=10)
    render(ANSWER, source, tmp_path / "out.mp4", seconds=(2.0, 3.5))
    with open_video(tmp_path / "out.mp4") as video:
        levels = video.frames(range(video.num_frames))[:, :60].mean(axis=(1, 2, 3))
    assert levels == pytest.approx(np.arange(80, 140, 4), abs=2)


def test_a_part_of_a_video_that_lost_a_frame(tmp_path: Path) -> None:
    import av

    source = write_video(tmp_path / "a.avi", moving_pattern(40), fps=20, codec="mjpeg", pixels="yuvj420p")
    with av.open(str(source)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    place, size = packets[30]
    content = bytearray(source.read_bytes())
    start = content.find(b"\xff\xd8", place)
    content[start : start + size - 8] = bytes(size - 8)
    source.write_bytes(content)
    parts = {None: 39, (0.5, 1.0): 10, (0.5, 1.8): 26, (0.5, 2.0): 29, (1.6, 1.8): 4}
    for seconds, frames in parts.items():
        render(ANSWER, source, tmp_path / "out.mp4", seconds=seconds)
        with open_video(tmp_path / "out.mp4") as drawn:
            assert drawn.num_frames == frames, seconds
    with pytest.raises(VideoError, match="none of these seconds decodes"):
        render(ANSWER, source, tmp_path / "out.mp4", seconds=(1.95, 2.0))


def test_sources_of_every_kind_give_the_same(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in öäü 1.mkv", moving_pattern(6, 64, 96), fps=6)
    outs = [tmp_path / f"{i}.mp4" for i in range(3)]
    read_already = io.BytesIO(source.read_bytes())
    read_already.seek(0, io.SEEK_END)
    for given, out in zip((source, source.read_bytes(), read_already), outs, strict=True):
        render(small_model().eval() if out is outs[2] else ANSWER, given, out)
    with open_video(outs[0]) as first, open_video(outs[1]) as second:
        assert np.array_equal(first.frames(range(6)), second.frames(range(6)))
    assert probe(outs[2]).num_frames == 6


def test_gif(tmp_path: Path) -> None:
    out = tmp_path / "a.GIF"
    render(ANSWER, moving_pattern(50, 360, 640), out, fps=25)
    with Image.open(out) as gif:
        assert gif.size == (480, 270)
        assert gif.info["loop"] == 0
        assert gif.n_frames == 25
        assert gif.info["duration"] * gif.n_frames == pytest.approx(2000)
        gif.seek(12)
        assert amber(np.asarray(gif.convert("RGB"))).any()


def test_a_gif_shows_what_lasts_of_a_variable_rate(tmp_path: Path) -> None:
    colors = np.zeros((4, 64, 96, 3), np.uint8)
    colors[0, ..., 0] = colors[1, ..., 1] = colors[2, ..., 2] = 255
    colors[3] = 255
    source = write_stamped(tmp_path / "a.mkv", [0, 40, 3000, 3040], frames=colors)
    render(ANSWER, source, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        shown = []
        for index in range(gif.n_frames):
            gif.seek(index)
            middle = np.asarray(gif.convert("RGB"))[24, 48].astype(int)
            shown.append((gif.info["duration"], int(middle.argmax())))
    assert [color for _, color in shown][:3] == [0, 1, 2]
    assert shown[0][0] == 80 and shown[1][0] == pytest.approx(2920, abs=10)


# --- contact sheet --------------------------------------------------------------------------------


def numbered(frames: int) -> np.ndarray:
    """Every frame is one color, from which its number can be told after any resize."""
    red = np.arange(frames) % 16 * 16
    green = np.arange(frames) // 16 * 16
    return (
        np.stack([red, green, np.full(frames, 77)], axis=-1)
        .astype(np.uint8)[:, None, None]
        .repeat(48, 1)
        .repeat(64, 2)
    )


def numbers_in(sheet: np.ndarray) -> list[list[int]]:
    """The frame numbers of each row of tiles, from top to bottom; told by the blue of ``numbered``."""
    is_tile = np.abs(sheet[..., 2].astype(int) - 77) <= 1
    is_tile &= (sheet[..., :2] % 16 <= 1).all(axis=-1) | (sheet[..., :2] % 16 == 15).all(axis=-1)
    inside = is_tile.sum(axis=1) > 60
    starts = np.flatnonzero(inside & ~np.roll(inside, 1))
    ends = np.flatnonzero(inside & ~np.roll(inside, -1))
    rows = []
    for start, end in zip(starts, ends, strict=True):
        if end - start < 30:
            continue
        line, good = sheet[(start + end) // 2].astype(int), is_tile[(start + end) // 2]
        edges = np.flatnonzero(good & ~np.roll(good, 1))
        middles = [edge + 20 for edge in edges]
        rows.append([round(line[x, 0] / 16) + 16 * round(line[x, 1] / 16) for x in middles])
    return rows


@pytest.mark.parametrize(
    ("model", "tag", "slow"),
    [
        ("slowfast_r50_4x16x1", "mmaction2-1x/k400-256e", [0, 8, 16, 24]),
        ("slowfast_r50_4x16x1", "pyslowfast/k400", [0, 10, 20, 31]),
        ("slowfast_r50_8x8x1", "pytorchvideo/k400", [0, 4, 8, 13, 17, 22, 26, 31]),
    ],
)
def test_the_sheet_shows_exactly_what_the_pathways_see(
    model: str, tag: str, slow: list[int], tmp_path: Path
) -> None:
    row = get_weights(model, tag)
    contact_sheet(row, numbered(120), tmp_path / "sheet.png", fps=30)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    from slowfast_zoo.video.sampling import center_indices

    fast = center_indices(row.clip_spec, 120, 30)[0].tolist()
    assert numbers_in(sheet) == [[fast[i] for i in slow], fast[:16], fast[16:]]


def test_the_sheets_frames_are_the_networks_to_the_byte() -> None:
    spec = get_weights("slowfast_r50_4x16x1").clip_spec
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(3, 2, 1, 1)
    shown = as_bytes(normalize(ramp, spec), spec.mean, spec.std, 1)
    assert np.array_equal(shown, ramp.permute(1, 2, 3, 0).numpy())
    spec = get_weights("slowfast_r50_4x16x1", "gluoncv/k400").clip_spec
    shown = as_bytes(normalize(ramp, spec), spec.mean, spec.std, 255)
    assert np.array_equal(shown, ramp.permute(1, 2, 3, 0).numpy())


def test_all_views_are_shown(tmp_path: Path) -> None:
    model, frames = small_model(), moving_pattern(30, 48, 64)
    contact_sheet(model, frames, tmp_path / "one.png")
    contact_sheet(model, frames, tmp_path / "six.png", views=(2, 3))
    contact_sheet(model, frames, tmp_path / "all.png", views="published")
    heights = [Image.open(tmp_path / f"{name}.png").height for name in ("one", "six", "all")]
    assert heights[0] < heights[1] < heights[2]
    with pytest.raises(InputError, match="33 views don't fit on a sheet; at most 30"):
        contact_sheet(model, frames, tmp_path / "more.png", views=(11, 3))


@pytest.mark.parametrize(("height", "width"), [(30, 60), (60, 30), (45, 45)])
def test_tiles_keep_the_shape_of_their_pictures(height: int, width: int) -> None:
    pictures = [*flat(4, height, width, 200)]
    sheet = np.asarray(drawing.tiles(pictures, ["1"] * 4, [False] * 4, 60, 2))
    found = (sheet == 200).all(axis=-1)
    high = 60 * height // width
    rows, columns = np.flatnonzero(found[:, 30]), np.flatnonzero(found[high // 2])
    assert len(rows) == 2 * high and len(columns) == 2 * 60
    assert found.sum() == 4 * 60 * high


def test_the_sheets_seconds_are_a_players(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, shown = uneven(tmp_path / "in.mkv", UNEVEN), list[str]()

    def spied(pictures: Any, texts: list[str], *rest: Any) -> Any:
        shown.extend(texts)
        return drawing.tiles(pictures, texts, *rest)

    monkeypatch.setattr(render_module, "tiles", spied)
    contact_sheet(small_model(), source, tmp_path / "sheet.png")
    captions = {f"{index} · {stamp / 1000:.2f} s" for index, stamp in enumerate(UNEVEN)}
    assert len(shown) == 2 + 8 and set(shown) <= captions


# --- what can't be done ---------------------------------------------------------------------------


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    video = moving_pattern(6)
    with pytest.raises(InputError, match=r"'.*a\.avi' ends in '\.avi'; accepted: \.mp4, \.gif"):
        render(ANSWER, video, tmp_path / "a.avi", fps=5)
    with pytest.raises(InputError, match=r"has no ending; accepted: \.png"):
        contact_sheet(small_model(), video, tmp_path / "a")
    with pytest.raises(VideoError, match="there is no folder"):
        render(ANSWER, video, tmp_path / "none" / "a.mp4", fps=5)
    (tmp_path / "b.mp4").mkdir()
    with pytest.raises(VideoError, match="it is a folder"):
        render(ANSWER, video, tmp_path / "b.mp4", fps=5)
    with pytest.raises(InputError, match="takes a SlowFast model, a Prediction or Detections, got str"):
        render("slowfast_r50_4x16x1", video, tmp_path / "a.mp4", fps=5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="takes a SlowFast model or a row, got str"):
        contact_sheet("slowfast_r50_4x16x1", video, tmp_path / "a.png")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="topk is 0"):
        render(ANSWER, video, tmp_path / "a.mp4", fps=5, topk=0)
    with pytest.raises(InputError, match=r"frame rate of .* isn't known: pass fps="):
        render(ANSWER, video, tmp_path / "a.mp4")
    for seconds in ((5, 6), (1, 1), (float("nan"), 2), (0, 10**400), 3):
        with pytest.raises(InputError, match="seconds is"):
            render(ANSWER, video, tmp_path / "a.mp4", fps=5, seconds=seconds)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="A GIF of 60 seconds would be huge"):
        render(ANSWER, video, tmp_path / "a.gif", fps=0.1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.mp4"]


def test_unreadable_sources_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    for call in (
        lambda: render(ANSWER, broken, tmp_path / "a.mp4"),
        lambda: contact_sheet(small_model(), broken, tmp_path / "a.png"),
        lambda: render(
            Prediction(source="x", error="was broken"), moving_pattern(4), tmp_path / "a.mp4", fps=4
        ),
    ):
        with pytest.raises(VideoError, match="broken"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["broken.mp4"]


def test_the_source_is_never_replaced(tmp_path: Path) -> None:
    source = write_video(tmp_path / "in.mp4", moving_pattern(6), codec="libx264", pixels="yuv420p")
    before = source.read_bytes()
    for name in (source, str(tmp_path / "." / "in.mp4"), source.as_uri()):
        with pytest.raises(InputError, match="is the source itself"):
            render(ANSWER, name, source)
    assert source.read_bytes() == before
    picture = tmp_path / "in.png"
    picture.write_bytes(before)  # as an animated one
    with pytest.raises(InputError, match="is the source itself"):
        contact_sheet(small_model(), picture, picture)
    assert picture.read_bytes() == before


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_an_old_file_survives_what_goes_wrong(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / name
    out.write_bytes(b"the old one")
    draw = Overlay.draw

    def interrupted(self: Overlay, frame: np.ndarray, progress: float, seconds: float) -> Image.Image:
        if progress > 0.5:
            raise KeyboardInterrupt
        return draw(self, frame, progress, seconds)

    monkeypatch.setattr(Overlay, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        render(ANSWER, moving_pattern(8), out, fps=5)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert out.read_bytes() == b"the old one"
    monkeypatch.undo()
    render(ANSWER, moving_pattern(8), out, fps=5)
    assert probe(out).num_frames >= 4


def test_what_the_disk_refuses_is_one_sentence(tmp_path: Path) -> None:
    long = "x" * 300
    for call in (
        lambda: render(ANSWER, moving_pattern(4), tmp_path / f"{long}.mp4", fps=4),
        lambda: render(ANSWER, moving_pattern(4), tmp_path / f"{long}.gif", fps=4),
        lambda: contact_sheet(small_model(), moving_pattern(9), tmp_path / f"{long}.png"),
    ):
        with pytest.raises(VideoError, match="can't be written: File name too long"):
            call()
    assert not list(tmp_path.iterdir())


def uneven(path: Path, milliseconds: list[int], aspect: tuple[int, int] = (1, 1)) -> Path:
    """A video whose frames, brighter one by one, are shown at these times; .mkv without loss."""
    import av

    with av.open(str(path), "w") as container:
        codec, pixels = ("ffv1", "bgr0") if path.suffix == ".mkv" else ("libx264", "yuv420p")
        stream: Any = container.add_stream(codec, rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        stream.codec_context.sample_aspect_ratio = Fraction(*aspect)
        for number, time in enumerate(milliseconds):
            picture = np.full((48, 64, 3), 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


UNEVEN = [0, 33, 66, 100, 133, 633, 700, 1500, 1533, 1566, 2800, 2833]


def test_frames_keep_their_times(tmp_path: Path) -> None:
    source = uneven(tmp_path / "in.mkv", UNEVEN)
    render(ANSWER, source, tmp_path / "out.mp4")
    with open_video(source) as before, open_video(tmp_path / "out.mp4") as after:
        assert after.num_frames == len(UNEVEN)
        for index in range(len(UNEVEN)):
            assert after.seconds_of(index) == pytest.approx(before.seconds_of(index), abs=2e-3)
        end = before.seconds_of(len(UNEVEN))
    import av

    with av.open(str(tmp_path / "out.mp4")) as file:
        track = file.streams.video[0]
        assert float(track.duration * track.time_base) == pytest.approx(end, abs=2e-3)
        assert file.duration / 1e6 == pytest.approx(end, abs=2e-3)
    render(ANSWER, source, tmp_path / "part.mp4", seconds=(0.2, 1.55))
    with open_video(tmp_path / "part.mp4") as part:  # at 0.2 s the frame of 0.133 s is shown
        levels = part.frames(range(part.num_frames))[:, :60].mean(axis=(1, 2, 3))
        assert levels == pytest.approx([40, 50, 60, 70, 80], abs=2)
        assert [part.seconds_of(index) for index in range(5)] == pytest.approx(
            [0, 0.5, 0.567, 1.367, 1.4], abs=2e-3
        )
    render(ANSWER, source, tmp_path / "out.gif")
    with Image.open(tmp_path / "out.gif") as gif:
        durations = []
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
    assert durations[:4] == [100, 80, 450, 80], "at most 12.5 pictures a second, and what lasts is shown"
    assert sum(durations) == pytest.approx(2833 + 1000 / 4.24, abs=300)


@pytest.mark.parametrize(("aspect", "shape"), [((32, 27), 64 * 32 / 27 / 48), ((1, 2), 64 / 96)])
def test_pixels_become_square(tmp_path: Path, aspect: tuple[int, int], shape: float) -> None:
    source = uneven(tmp_path / "in.mp4", list(range(0, 400, 40)), aspect)
    for name in ("out.mp4", "out.gif"):
        render(ANSWER, source, tmp_path / name)
        with open_video(tmp_path / name) as video:
            assert video.pixel_aspect == 1
            assert video.width / video.height == pytest.approx(shape, rel=0.01)


def test_without_x264_the_plain_encoder_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    render(ANSWER, moving_pattern(5), tmp_path / "a.mp4", fps=5)
    assert (probe(tmp_path / "a.mp4").codec, probe(tmp_path / "a.mp4").num_frames) == ("mpeg4", 5)


# --- the command line -----------------------------------------------------------------------------


def test_command_line(tmp_path: Path) -> None:
    source = str(write_video(tmp_path / "in.mkv", moving_pattern(12), fps=12))
    sheet = ["render", source, str(tmp_path / "sheet.png")]
    run = CliRunner().invoke(main, sheet)
    assert run.exit_code == 0, run.output
    assert Image.open(tmp_path / "sheet.png").width > 1000
    others = ["--topk", "5", "--boxes", source, "--score", "0.5", "--seconds", "0", "1"]
    run = CliRunner().invoke(main, [*sheet, "--fps", "12", "--device", "cpu", *others])
    assert run.exit_code == 1
    assert "Only .mp4 and .gif take --topk, --boxes, --score, --seconds; a sheet" in run.output
    content = Path(source).read_bytes()
    piped = CliRunner().invoke(main, ["render", "-", str(tmp_path / "piped.png")], input=content)
    assert piped.exit_code == 0, piped.output
    named, unnamed = (Image.open(tmp_path / f"{name}.png") for name in ("sheet", "piped"))
    below = (0, named.height // 2, named.width, named.height)  # the title, which has the name
    assert unnamed.crop(below).tobytes() == named.crop(below).tobytes()

    save_pretrained(small_model(), tmp_path / "model")
    arguments = ["render", source, str(tmp_path / "out.mp4"), "--topk", "2", "--seconds", "0", "0.5"]
    small = [*arguments, "--model", str(tmp_path / "model"), "--device", "cpu"]
    refused = CliRunner().invoke(main, [*small, "--engine", "onnxruntime", "--precision", "bfloat16"])
    assert refused.exit_code == 1 and "onnxruntime" in refused.output
    run = CliRunner().invoke(main, [*small, "--engine", "eager"])
    assert run.exit_code == 0, run.output
    assert "Wrote" in run.output
    assert probe(tmp_path / "out.mp4").num_frames == 6
    piped = CliRunner().invoke(
        main, ["render", "-", *arguments[2:], "--model", "slowfast_tiny"], input=content
    )
    assert piped.exit_code == 0, piped.output
    assert probe(tmp_path / "out.mp4").num_frames == 6

    persons = ["--unit", "pixels", "--video", "x", "--begins-at", "9", "--every", "3", "--box-score", "0.3"]
    for others in (persons, ["--score", "0.3"]):
        run = CliRunner().invoke(main, [*arguments, "--model", "slowfast_tiny", *others])
        assert run.exit_code == 1
        assert f"Only with --boxes or --detector does render take {', '.join(others[::2])}: " in run.output

    run = CliRunner().invoke(main, ["render", source, str(tmp_path / "out.avi"), "--model", "slowfast_tiny"])
    assert run.exit_code == 1
    assert "accepted: .mp4, .gif" in run.output
