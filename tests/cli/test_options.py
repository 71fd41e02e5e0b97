"""What all commands share: help with examples, options of one spelling, exit statuses, clean text."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
from cli.commands import invoke
from click.testing import CliRunner

from slowfast_zoo.cli import main, options
from slowfast_zoo.cli.options import Command, in_options
from slowfast_zoo.errors import InputError, printable

CONTEXT = click.Context(main)
COMMANDS = [(name, main.resolve_command(CONTEXT, [name])[1]) for name in main.list_commands(CONTEXT)]
each_command = pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])


@each_command
def test_every_command_has_examples_that_parse(
    name: str, command: click.Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert isinstance(command, Command)
    assert command.examples
    text = invoke(name, "-h").output
    for example in command.examples:
        assert f"slowfast-zoo {example}" in text
        first, *arguments = shlex.split(os.path.expandvars(example))
        assert first == name
        # Files of the examples don't exist here, so only names and values of options are checked.
        context = click.Context(command, info_name=name)
        given, _, _ = command.make_parser(context).parse_args(list(arguments))
        for option in filter(lambda each: isinstance(each, click.Option), command.params):
            if option.name in given and not isinstance(option.type, click.Path | click.File):
                option.type_cast_value(context, given[option.name])


@each_command
def test_options_with_one_meaning_have_one_spelling(name: str, command: click.Command) -> None:
    spellings = {option.name: option for option in command.params}
    gone = {"weights", "checkpoint", "tag", "start", "dialect", "out_form"}
    assert not gone & set(spellings)
    for option in command.params:
        if "--json" in option.opts:
            assert isinstance(option, click.Option) and option.is_flag
        if "--out" in option.opts:
            assert isinstance(option.type, click.Path)
        if isinstance(option.type, click.Path):
            assert isinstance(option.type, options.PathType)
    if name not in ("describe", "download", "convert") and "model" in spellings:
        assert spellings["model"].opts == ["--model"]


@pytest.mark.parametrize("name", ["test", "check", "benchmark", "render"])
def test_what_writes_over_a_file_says_so(name: str) -> None:
    assert "replaced" in invoke(name, "--help").output


@each_command
def test_what_may_be_repeated_is_said(name: str, command: click.Command) -> None:
    for option in filter(lambda each: isinstance(each, click.Option), command.params):
        assert option.multiple == ("may be repeated" in (option.help or "").lower()), option.opts


@each_command
def test_what_is_required_is_asked_for(name: str, command: click.Command) -> None:
    for parameter in filter(lambda each: each.required, command.params):
        with pytest.raises(click.MissingParameter):
            parameter.handle_parse_result(click.Context(command, info_name=name), {}, [])


@pytest.mark.parametrize("arguments", [("test", "clips"), ("finetune", "clips", "--from-scratch")])
def test_without_a_model_it_is_asked_for(arguments: tuple[str, ...]) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2 and "Missing option '--model'" in result.stderr


def test_a_tilde_that_no_shell_saw_is_the_users_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "a.csv").touch()
    assert options.NEW_FILE.convert("~/new", None, None) == tmp_path / "new"
    assert options.FILE.convert("~/a.csv", None, None) == tmp_path / "a.csv"
    text_or_dash = options.PathType(exists=True, allow_dash=True)
    assert text_or_dash.convert("~/a.csv", None, None) == str(tmp_path / "a.csv")
    assert text_or_dash.convert("-", None, None) == "-"
    result = invoke("benchmark", "--out=~/no/result.json")
    assert result.exit_code == 2 and f"{tmp_path / 'no'}" in "".join(result.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("features", "film.mp4", "--out", "film.npz"),
        ("split", "clips", "lists.csv"),
        ("cache", "clips", "smaller.CSV"),
        ("convert", "slowfast_tiny", "mine.safetensors"),
        ("download", "--all", "--to", "weights.pth"),
    ],
)
def test_a_folder_isnt_named_as_a_file(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2 and not [*tmp_path.iterdir()]
    assert f"'{arguments[-1]}' is named as a file, and a folder is written" in " ".join(result.stderr.split())
    named = tmp_path / arguments[-1]
    named.mkdir()
    assert options.NEW_FOLDER.convert(str(named), None, None) == named


def test_the_list_of_commands_shows_whole_sentences() -> None:
    text = " ".join(invoke("--help").output.split())
    assert "..." not in text.partition("Commands:")[2]
    for name, command in COMMANDS:
        assert isinstance(command, Command)
        assert f"{name} {command.get_short_help_str()}" in text


@pytest.mark.parametrize(
    ("text", "views"),
    [
        ("quick", "quick"),
        ("Published", "published"),
        ("10x3", (10, 3)),
        ("10X3", (10, 3)),
        ("1\u00d71", (1, 1)),
    ],
)
def test_views(text: str, views: Any) -> None:
    assert options.ViewsType().convert(text, None, None) == views


@pytest.mark.parametrize("text", ["10*3", "x3", "10x", "many", "-1x3", "1x2x3", ""])
def test_other_views_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="neither quick nor published nor CLIPSxCROPS"):
        options.ViewsType().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "size"), [("256", 256), ("256x455", (256, 455)), ("224\u00d7398", (224, 398))]
)
def test_sizes(text: str, size: object) -> None:
    assert options.SizeType().convert(text, None, None) == size


@pytest.mark.parametrize("text", ["0", "-3", "256x0", "256x", "x455", "256x455x3", "2.5"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a side such as 256 nor HEIGHTxWIDTH"):
        options.SizeType().convert(text, None, None)


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert printable("a\x1b[31mb\x9bc\rd\x07") == "a\\u001b[31mb\\u009bc\\u000dd\\u0007"
    assert printable("\udcff.mp4 \u202ecod.exe") == "\\udcff.mp4 \\u202ecod.exe"
    assert printable("gr\u00fcn\n\t\u20ac \U0001f600") == "gr\u00fcn\n\t\u20ac \U0001f600"


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "ascii"])
def test_an_object_in_a_line_is_json_in_every_encoding(encoding: str) -> None:
    values = {"label": "caf\u00e9 \u9593 \x9b", "score": 0.5}
    command = click.Command("say", callback=lambda: options.echo_json(values))
    said = CliRunner(charset=encoding).invoke(command).stdout_bytes.decode(encoding)
    assert json.loads(said) == values and len(said.splitlines()) == 1
    assert ("caf\u00e9" in said) is (encoding == "utf-8")


def test_errors_are_clean_and_set_the_status() -> None:
    result = invoke("describe", "no\x1b[2J\udcff")
    assert result.exit_code == 1
    assert "no\\u001b[2J\\udcff" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert invoke("predict").exit_code == 2
    assert invoke("export", "a.onnx", "--format", "tflite").exit_code == 2


@pytest.mark.parametrize(
    "command",
    [
        ["check", "data"],
        ["split", "data", "out"],
        ["cache", "data", "out"],
        ["train", "camera-motion", "data", "data", "--validate", "--dry-run"],
        ["test", "data", "--model", "slowfast_tiny", "--device", "cpu"],
        ["finetune", "data", "--model", "slowfast_tiny", "--device", "cpu"],
    ],
    ids=lambda command: command[0],
)
def test_options_of_lists_are_refused_for_folders_of_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("data/jump/a.npy", "data/run/b.npy"):
        (tmp_path / path).parent.mkdir(parents=True)
        np.save(tmp_path / path, np.zeros((4, 32, 32, 3), np.uint8))
    refused = invoke(*command, "--root", "elsewhere", "--separator", "|")
    assert refused.exit_code == 1, refused.output
    said = "--root, --separator: for a list, and 'data' is a folder of classes."
    assert refused.stderr.splitlines()[-1].endswith(said)
    assert not (tmp_path / "out").exists() and not (tmp_path / "work_dirs").exists()
    Path("data/list.csv").write_text("path;label\njump/a.npy;jump\nrun/b.npy;run\n")
    mixed = invoke("check", "data", "data/list.csv", "--root", "data", "--separator", ";")
    assert "2 clips in data/list.csv" in mixed.output


def test_the_quality_of_videos_is_refused_where_frames_are_stored(tmp_path: Path) -> None:
    refused = invoke("cache", tmp_path, tmp_path / "out", "--decoded", "--quality", "3")
    assert refused.exit_code == 1
    assert "--quality: for videos, and --decoded stores frames." in refused.stderr


def test_sentences_name_options_as_the_command_spells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(**_: object) -> None:
        raise InputError("The rate is unknown: give fps=, format= (or num_classes=); fps=3 is one, form=.")

    command = click.Command(
        "wait",
        callback=refused,
        params=[click.Option(["--fps"]), click.Option(["--format", "form"]), click.Option(["-n", "--n"])],
    )
    monkeypatch.setitem(main.commands, "wait", command)
    said = invoke("wait").stderr
    expected = "The rate is unknown: give --fps, --format (or num_classes=); --fps 3 is one, --format."
    assert said == f"Error: {expected}\n"
    sentence = "Say load(name, at=Path('x'), fps='9', n=3), predict() with fps='9'; leave out fps= (--fps)."
    expected = "Say load(name, at=Path('x'), fps='9', n=3), predict() with --fps 9; leave out --fps."
    assert in_options(sentence, command) == expected
    assert (
        in_options("Say format='a' (--format a), fps='b' (--fps c).", command)
        == "Say --format a, --fps b (--fps c)."
    )
    assert in_options("Take fps='2' or '3', or format=.", command) == "Take --fps 2 or 3, or --format."
    assert in_options("Later (--set fps=3, --set at=3).", command) == "Later (--fps 3, --set at=3)."
    sentence = "3 can't be read, more than fps=1; the last: '/a/fps=2.npy' can't be read."
    assert in_options(sentence, command) == sentence.replace("fps=1;", "--fps 1;")
    for name in ("'fps=25.mp4' failed.", "'it, fps=3 or fps=4.mp4' failed.", "In 'x fps=2' fps= is needed."):
        assert in_options(name, command) == name.replace("' fps= is", "' --fps is")


@pytest.mark.parametrize(
    ("names", "given", "hint"),
    [
        (["resume"], [], " The same command with --resume goes on."),
        (["resume", "out"], ["--out", "begun/a"], " The same command with --resume goes on."),
        (["resume", "work-dir"], ["--work-dir", "begun"], " The same command with --resume goes on."),
        (["resume", "out"], ["--out", "a"], ""),  # there is nothing to go on with
        (["resume", "work-dir"], ["--work-dir", "locked"], ""),
        (["resume", "out"], [], ""),
        (["out"], ["--out", "a"], ""),
        ([], [], ""),
    ],
)
def test_ctrl_c_ends_with_130(
    names: list[str], given: list[str], hint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("begun/a", "locked/.lock"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    params: list[Any] = [click.Option([f"--{name}"], is_flag=name == "resume") for name in names]
    monkeypatch.setitem(main.commands, "wait", Command("wait", callback=interrupted, params=params))
    result = invoke("wait", *given)
    assert result.exit_code == 130
    assert result.stderr == f"\nInterrupted.{hint}\n"


def test_patterns_are_the_commands_on_windows_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[str] = []
    argument = click.Argument(["words"], nargs=-1)
    command = click.Command("say", callback=lambda words: told.extend(words), params=[argument])
    monkeypatch.setitem(main.commands, "say", command)
    for name in ("clip1.csv", "clip2.csv"):
        (tmp_path / name).touch()
    patterns = [f"{tmp_path.as_posix()}/{name}" for name in ("*.csv", "clip[1].csv")]
    monkeypatch.setattr("sys.argv", ["slowfast-zoo", "say", *patterns])
    monkeypatch.setattr("click.core.os", SimpleNamespace(**{**vars(os), "name": "nt"}))
    with pytest.raises(SystemExit, match="0"):
        main()
    assert told == patterns


def test_ctrl_c_while_a_command_is_loaded_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(main), "get_command", interrupted)
    result = invoke("predict")
    assert (result.exit_code, result.stderr) == (130, "\nInterrupted.\n")


def test_a_folder_that_isn_t_there_is_known_before_the_work() -> None:
    result = invoke("benchmark", "--out", "no/such/result.json")
    assert result.exit_code == 2
    assert re.search(r"there is no folder '.*such'", " ".join(result.stderr.split()))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("test list.json --model slowfast_tiny --out list.json", "DATA"),
        ("test x --model slowfast_tiny --labels list.json --out link.json", "--labels"),
        ("test x --model list.json --confusion list.json", "--model"),
        ("test x --model slowfast_tiny --excluded list.json --out list.json", "--excluded"),
        ("test x --model slowfast_tiny --out new.json --confusion ./new.json", "--confusion"),
        ("test x --model slowfast_tiny --out ahead.json --confusion new.json", "--confusion"),
        ("check x list.json --out link.json", "DATA"),
        ("benchmark list.json --out list.json", "VIDEO"),
        ("render list.json list.json", "VIDEO"),
        ("predict list.json --out list.json --resume", "PATHS"),
        ("detect x --boxes list.json --out link.json --resume", "--boxes"),
        ("export x/model.pt2 --model x/model.pt2 --overwrite", "--model"),
        ("convert x/model.safetensors x --overwrite", "MODEL"),
        ("split x/train.csv x --overwrite", "DATA"),
        ("split list.json x --labels x/labels.txt --overwrite", "--labels"),
        ("cache x/index.csv x", "DATA"),
    ],
)
def test_what_the_command_names_twice_isnt_written(
    line: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    inside = (
        f"x/{name}" for name in ("model.pt2", "model.safetensors", "train.csv", "labels.txt", "index.csv")
    )
    files = [*map(Path, ("list.json", *inside))]
    for file in files:
        file.write_text("0.5,0.5")
    Path("link.json").symlink_to("list.json")
    Path("ahead.json").symlink_to("new.json")
    result = invoke(*line.split())
    assert result.exit_code == 1
    assert f"would be written, and {named} is the same file; name another one." in result.stderr
    assert {file.read_text() for file in files} == {"0.5,0.5"}
    assert not Path("new.json").exists()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("check clips --out clips/a/one.mkv", "DATA"),
        ("test clips --model slowfast_tiny --out new.json --confusion clips/a/one.mkv", "DATA"),
        ("render frames frames/1.png --model slowfast_tiny --fps 5", "VIDEO"),
        ("render frames frames/new.png --model slowfast_tiny --fps 5", "VIDEO"),
    ],
)
def test_no_clip_or_frame_of_what_is_read_is_written(
    line: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = [Path("clips/a/one.mkv"), Path("frames/1.png")]
    for path in there:
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    result = invoke(*line.split())
    assert result.exit_code == 1
    assert f"would be a clip or a frame of {named}; write elsewhere." in result.stderr
    assert {path.read_text() for path in there} == {"mine"} and not Path("frames/new.png").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "predict x.mkv --model slowfast_tiny --min-agreement 0.5",
            "--min-agreement: for --precision int8",
        ),
        (
            "timeline x.mkv --model slowfast_tiny --min-agreement 0.5",
            "--min-agreement: for --precision int8",
        ),
        ("predict x.mkv --model slowfast_tiny --calibration x", "--calibration: for --precision int8, which"),
        (
            "export x.onnx --model slowfast_tiny --min-agreement 0.5",
            "--min-agreement: for --precision int8",
        ),
        ("finetune x --model slowfast_tiny --val 0.3 --validation y", "--val: for a part held out of DATA"),
        ("finetune x --model slowfast_tiny --val 0.3 --folds 3", "--val: for a part held out of DATA"),
        ("verify --stage decode --demo-clip x", "--demo-clip is for the stage 'demo clip'"),
        ("predict - --from - --model slowfast_tiny", "Standard input holds the names (--from -), so"),
        ("test x --model slowfast_tiny --confusion x.json", "'x.json' ends in .json, and --format is csv"),
        ("predict x.mkv --model=", "The name of the model is empty"),
    ],
)
def test_what_would_do_nothing_is_refused(
    line: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("x", "x.mkv"):
        Path(name).write_text("")
    result = invoke(*line.split())
    assert result.exit_code in (1, 2) and told in result.stderr, result.output
    assert {path.name for path in tmp_path.iterdir()} == {"x", "x.mkv"}
