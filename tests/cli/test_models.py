"""MODEL: one way to name a model, for every command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest
import torch
from cli.commands import run
from safetensors.torch import load_file, save_file
from support.movies import moving_pattern, write_video
from support.publisher_files import trained, write_file

from slowfast_zoo import ClipSpec, ModelSpec, SlowFast, create_model, from_pretrained, save_pretrained
from slowfast_zoo.cli import main
from slowfast_zoo.cli.models import ModelType
from slowfast_zoo.errors import CheckpointError, DownloadError, InputError, UnknownNameError
from slowfast_zoo.files import hash_file
from slowfast_zoo.naming import parse
from slowfast_zoo.weights import catalog
from slowfast_zoo.weights.catalog import get_weights
from slowfast_zoo.weights.catalog.entry import WeightEntry
from slowfast_zoo.weights.checkpoint.dialects import names_between

SPEC = ModelSpec(depth=14, base_width=8, alpha=2, num_frames=4, num_classes=3)
CLIP = ClipSpec(
    num_frames=4, frame_stride=1, size=36, crop=32, test_crop=36, clips=1, crops=1, mean=(1.0, 2.0, 3.0)
)
NAMES = ("walk", "run", "jump\x1b[2J")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved model, a training's file, and a video."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("own")
    model = SlowFast(SPEC)
    model.clip_spec, model.labels, model.provenance = CLIP, NAMES, {"model": "slowfast_tiny"}
    save_pretrained(model, folder / "model")
    write_file(folder / "best.safetensors", model)
    write_video(folder / "video.mkv", moving_pattern(8))
    return folder


# --- what MODEL means ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "model", "tag"),
    [
        ("slowfast_r50_4x16x1", "slowfast_r50_4x16x1", "mmaction2/k400-256e-320p-prebn"),
        ("slowfast_r50_8x8x1:pyslowfast/k400", "slowfast_r50_8x8x1", "pyslowfast/k400"),
        ("slowfast_r50_8x8x1:default", "slowfast_r50_8x8x1", "mmaction2/k400-256e-320p"),
        ("slowfast_8x8_resnet101_kinetics400", "slowfast_r101_8x8x1", "gluoncv/k400"),
        ("Kinetics/c2/SLOWFAST_8x8_R50", "slowfast_r50_8x8x1", "pyslowfast/k400"),
    ],
)
def test_names(text: str, model: str, tag: str) -> None:
    found = parse(text)
    assert found.entry is get_weights(model, tag)
    assert found.clip_spec() == get_weights(model, tag).clip_spec
    assert found.untrained().spec == get_weights(model, tag).model_spec


def test_a_name_goes_before_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("slowfast_tiny").mkdir()
    assert parse("slowfast_tiny").entry is get_weights("slowfast_tiny")
    assert parse("./slowfast_tiny").path == Path("slowfast_tiny")


def test_what_lies_in_a_forbidden_folder_isnt_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, **how: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refused)
    for text in ("secret/model", "slowfast_secret:model"):
        with pytest.raises(UnknownNameError, match="There is no model"):
            parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("slowfast_r50", "no model, folder or file 'slowfast_r50'. Did you mean 'slowfast_r50_"),
        ("wd/model", "no model, folder or file 'wd/model'. The models are: 'slowfast_r50_4x16x1'"),
        (
            "wd/model",
            "If it is a Hub repository, from_pretrained('wd/model') loads it; on the command line, fetch it",
        ),
        ("slowfast_r50_8x8x1:pyslowfast/k40", "Did you mean 'pyslowfast/k400'"),
        (
            "slowfast_r50_8x8:pyslowfast/k400",
            "no model 'slowfast_r50_8x8'. Did you mean 'slowfast_r50_8x8x1'",
        ),
        ("~nobody at all/model", "no model, folder or file '~nobody at all/model'"),
        ("a" * 300, "no model, folder or file"),
        ("slowfast_" + "a" * 300 + ":x", "no model"),
        ("slowfast_r50_8x8x1_256e_kinetics400_rg", "Did you mean 'slowfast_r50_8x8x1_256e_kinetics400_rgb'"),
    ],
)
def test_what_is_nothing_gets_the_nearest(text: str, words: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        parse(text)
    assert words in str(error.value)


def test_a_file_is_no_hub_repository() -> None:
    with pytest.raises(UnknownNameError) as error:
        parse("work_dirs/best.safetensors")
    assert "Hub" not in str(error.value)


@pytest.mark.parametrize("source", ["model", "best.safetensors"])
def test_saved_models_bring_their_contract(own: Path, source: str) -> None:
    model = parse(str(own / source)).load()
    assert (model.spec, model.clip_spec, model.labels) == (SPEC, CLIP, NAMES)
    assert torch.equal(model.classifier.weight, from_pretrained(own / "model").classifier.weight)


def test_without_a_download_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOWFAST_ZOO_OFFLINE", "1")
    with pytest.raises(DownloadError, match="Without any download there is '--model slowfast_tiny'"):
        parse("slowfast_r50_4x16x1").load()


# --- whose file a checkpoint is ---------------------------------------------------------------------


@pytest.fixture
def small() -> Iterator[dict[str, WeightEntry]]:
    """Four rows of two models with networks of the same shapes, whose files can't be told apart."""
    rows = {}
    for model, tag in (
        ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p"),
        ("slowfast_r50_8x8x1", "mmaction2-1x/k400-256e"),
        ("slowfast_r50_4x16x1", "mmaction2/k400-256e-320p"),
        ("slowfast_r50_4x16x1", "pyslowfast/k400"),
    ):
        row = get_weights(model, tag)
        spec = row.model_spec.replace(depth=14, base_width=8, num_frames=8, alpha=4, fusion_kernel=5)
        dialect = "pyslowfast" if row.dialect == "caffe2" else row.dialect
        rows[f"{model}:{tag}"] = replace(row, model_spec=spec, dialect=dialect)
    with catalog.using(rows.values()):
        yield rows


def write(path: Path, row: WeightEntry, classes: int) -> SlowFast:
    spec = row.model_spec.replace(num_classes=classes)
    model = trained(spec)
    names = names_between(spec, row.dialect)
    state = {names[name] or name: tensor for name, tensor in model.state_dict().items()}
    torch.save({"model_state": state}, path)
    return model


def test_an_ambiguous_file_names_the_option_and_its_values(
    small: dict[str, WeightEntry], tmp_path: Path
) -> None:
    write(tmp_path / "mine.pth", small["slowfast_r50_8x8x1:mmaction2-1x/k400-256e"], 7)
    with pytest.raises(
        CheckpointError, match=r"'slowfast_r50_8x8x1'; say which one is meant: .* --like NAME"
    ):
        parse(str(tmp_path / "mine.pth")).load()
    with (
        catalog.using([row for row in small.values() if row.model == "slowfast_r50_8x8x1"]),
        pytest.raises(CheckpointError, match="--like slowfast_r50_8x8x1:mmaction2/k400-256e-320p"),
    ):
        parse(str(tmp_path / "mine.pth")).load()
    with pytest.raises(CheckpointError, match="--like slowfast_r50_8x8x1:mmaction2/k400-256e-320p"):
        parse(str(tmp_path / "mine.pth"), "slowfast_r50_8x8x1").load()
    model = parse(str(tmp_path / "mine.pth"), "slowfast_r50_8x8x1:mmaction2-1x/k400-256e").load()
    assert model.clip_spec.sampling == "openmmlab-1.x"
    assert (model.spec.num_classes, model.labels) == (7, None)
    assert model.provenance["model"] == "slowfast_r50_8x8x1"


def test_a_file_with_one_owner_needs_no_option(small: dict[str, WeightEntry], tmp_path: Path) -> None:
    row = small["slowfast_r50_4x16x1:pyslowfast/k400"]
    written = write(tmp_path / "mine.pyth", row, 400)
    model = parse(str(tmp_path / "mine.pyth")).load()
    assert (model.spec, model.clip_spec) == (row.model_spec, row.clip_spec)
    assert model.labels is None, "the file isn't the publisher's"
    assert torch.equal(model.slow.stem.conv.weight, written.slow.stem.conv.weight)


def test_like_without_a_tag_is_the_row_that_the_file_is(
    small: dict[str, WeightEntry], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    row = small["slowfast_r50_4x16x1:pyslowfast/k400"]
    write(tmp_path / "mine.pyth", row, 5)
    model = parse(str(tmp_path / "mine.pyth"), "slowfast_r50_4x16x1").load()
    assert model.spec == row.model_spec.replace(num_classes=5) and model.spec.slow_sampling == "linspace"
    assert not caplog.records
    strided = replace(row, model_spec=row.model_spec.replace(slow_sampling="strided"))
    assert replace(parse(str(tmp_path / "mine.pyth")), like=strided).load().spec.slow_sampling == "strided"
    assert "sees 'linspace' frames; this model picks 'strided' ones" in caplog.text


def test_results_say_whose_network_a_file_was_taken_for(
    small: dict[str, WeightEntry], own: Path, tmp_path: Path
) -> None:
    """Answers of one file as two networks aren't mixed in one table."""
    file, row = tmp_path / "mine.pth", "slowfast_r50_8x8x1:mmaction2/k400-256e-320p"
    write(file, small[row], 7)
    weights = parse(str(file)).origin()["weights"]
    assert parse(str(file), row).origin()["weights"] == f"{weights} like {row}"
    assert parse(str(file), "slowfast_r50_8x8x1").origin()["weights"] == f"{weights} like slowfast_r50_8x8x1"
    command = ("predict", own / "video.mkv", "--model", file, "--out", tmp_path / "answers.csv")
    run(*command, "--like", row)
    other = "slowfast_r50_8x8x1:mmaction2-1x/k400-256e"
    refused = run(*command, "--resume", "--like", other, status=1).output
    assert f"made with weights {weights} like {row}, and this is weights {weights} like {other}" in refused


def test_results_say_that_a_folders_config_was_edited(own: Path, tmp_path: Path) -> None:
    """Answers under other names, or of another input, aren't mixed in one table."""
    folder = tmp_path / "mine"
    shutil.copytree(own / "model", folder)
    weights = parse(str(folder)).origin()["weights"]
    assert weights == f"sha256:{hash_file(folder / 'model.safetensors')[:16]}"
    command = ("predict", own / "video.mkv", "--model", folder, "--out", tmp_path / "answers.csv")
    run(*command)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["record_checksum"]

    def edited(**changes: object) -> str:
        (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
        return parse(str(folder)).origin()["weights"]

    assert edited(metrics={"top1_acc": 0.5}) == weights, "no answer depends on it"
    run(*command, "--resume")
    renamed, faster = edited(labels=["a", "b", "c"]), edited(clip_spec=config["clip_spec"] | {"clips": 2})
    assert len({weights, renamed, faster}) == 3 and renamed.startswith(f"{weights} edited ")
    refused = run(*command, "--resume", status=1).output
    assert f"made with weights {weights}, and this is weights {faster}" in refused
    (folder / "config.json").unlink()
    assert parse(str(folder)).origin()["weights"] == weights, "loading says what is wrong with it"


def test_weights_that_another_tool_wrote_again_are_not_called_edited(own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(own / "model", folder)
    file = folder / "model.safetensors"
    save_file(load_file(file), file)
    assert parse(str(folder)).origin()["weights"] == f"sha256:{hash_file(file)[:16]}"


def test_a_file_without_a_classifier_is_not_scored(tmp_path: Path) -> None:
    torch.save(create_model("slowfast_tiny", True, num_classes=0).state_dict(), tmp_path / "file.pth")
    (tmp_path / "list.txt").write_text("a.mp4 0\n")
    command = ("test", tmp_path / "list.txt", "--model", tmp_path / "file.pth", "--like", "slowfast_tiny")
    assert "This model has no classifier (num_classes=0)" in run(*command, status=1).output


def test_like_is_for_files(own: Path) -> None:
    for text in ("slowfast_tiny", str(own / "model")):
        with pytest.raises(InputError, match="says whose network a checkpoint file has"):
            parse(text, "slowfast_tiny")
    with pytest.raises(UnknownNameError, match="--like is a model's NAME or NAME:TAG, got 'slowfast_tny'"):
        parse(str(own / "best.safetensors"), "slowfast_tny")


# --- every command takes the same --------------------------------------------------------------------


@pytest.mark.parametrize("source", ["slowfast_tiny", "model", "best.safetensors"])
def test_commands_take_names_folders_and_files(own: Path, source: str, tmp_path: Path) -> None:
    model = source if source == "slowfast_tiny" else own / source
    label = "pan" if source == "slowfast_tiny" else "jump"
    assert "parameters" in run("describe", model).stdout
    answer = run("predict", own / "video.mkv", "--model", model, "--topk", "3", "--device", "cpu").stdout
    assert "%" in answer
    run("convert", model, tmp_path / "folder")
    assert any(label in name for name in from_pretrained(tmp_path / "folder").labels or ())
    run("render", own / "video.mkv", tmp_path / "sheet.png", "--model", model)
    timed = run(
        "benchmark", "--model", model, "--device", "cpu", "--repeats", "1", "--views", "1x1", "--json"
    )
    assert json.loads(timed.stdout)
    (tmp_path / "list.txt").write_text(f"{own / 'video.mkv'} 0\n")
    scored = run("test", tmp_path / "list.txt", "--model", model, "--workers", "0", "--device", "cpu")
    assert "1 of 1 decoded" in scored.stdout


def test_describe_says_what_a_model_of_ones_own_reads(own: Path) -> None:
    text = run("describe", own / "model").stdout
    assert "R14, alpha 2, 3 classes (walk, run, jump\\u001b[2J), softmax" in text
    assert "\x1b" not in text
    assert "reads          4 frames, each frame" in text


def test_escape_codes_in_labels_don_t_reach_the_terminal(own: Path) -> None:
    answer = run("predict", own / "video.mkv", "--model", own / "model", "--topk", "3", "--device", "cpu")
    assert "\x1b" not in answer.output
    assert "jump\\u001b[2J" in answer.stdout


def test_split_and_export_don_t_write_over_files(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.pt2"
    out.write_text("mine")
    assert "--overwrite" in run("export", out, "--model", own / "model", status=1).stderr
    for label in ("a", "b"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "clips" / label / f"{index}.mkv").write_bytes((own / "video.mkv").read_bytes())
    (tmp_path / "labels.txt").write_text("mine\n")
    refused = run("split", tmp_path / "clips", tmp_path, status=1)
    assert "labels.txt' exists; give --overwrite" in refused.stderr
    assert (out.read_text(), (tmp_path / "labels.txt").read_text()) == ("mine", "mine\n")
    run("split", tmp_path / "clips", tmp_path, "--val", "0.4", "--overwrite")
    assert (tmp_path / "labels.txt").read_text() == "a\nb\n"


# --- completion ----------------------------------------------------------------------------------


def completed(incomplete: str) -> list[str]:
    _, command, _ = main.resolve_command(click.Context(main), ["predict"])
    assert command is not None
    context = command.make_context("predict", ["video.mp4"], resilient_parsing=True)
    option = next(option for option in command.params if option.name == "model")
    return [item.value for item in ModelType().shell_complete(context, option, incomplete)]


def test_names_and_tags_complete() -> None:
    assert completed("slowfast_r101") == catalog.list_models("slowfast_r101*")
    assert "slowfast_r50_8x8x1:pyslowfast/k400" in completed("slowfast_r50_8x8x1:py")
    assert completed("work_dirs/") == ["work_dirs/"], "the shell completes files"
