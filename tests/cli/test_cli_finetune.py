"""``slowfast-zoo finetune``: what its options mean, what it prints, and how it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli.commands import invoke
from click.testing import Result
from PIL import Image
from support.movies import write_video

from slowfast_zoo.data.annotations import Annotations
from slowfast_zoo.errors import InputError
from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.spec import ClipSpec, ModelSpec
from slowfast_zoo.training.finetune.recipes import RECIPES
from slowfast_zoo.weights.saved.folder import save_pretrained
from slowfast_zoo.weights.saved.hub import from_pretrained


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of clips and a saved model."""
    root = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    for label, level in (("dark", 40), ("light", 200)):
        (root / "clips" / label).mkdir(parents=True)
        for place in range(4):
            frames = (level + rng.integers(-30, 30, (8, 36, 48, 3))).astype(np.uint8)
            write_video(root / "clips" / label / f"{place}.mkv", frames)
    torch.manual_seed(0)
    model = SlowFast(
        ModelSpec(depth=14, base_width=8, beta_inv=4, alpha=2, fusion_kernel=3, num_frames=4, num_classes=7)
    )
    model.clip_spec = ClipSpec(num_frames=4, frame_stride=2, size=36, crop=32, test_crop=32)
    save_pretrained(model, root / "model")
    return root


def run(folders: Path, *arguments: str | Path) -> Result:
    return invoke("finetune", folders / "clips", "--model", folders / "model", "--workers", "0", *arguments)


def test_finetune_prints_the_report_and_leaves_a_model_for_predict(
    folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    work = tmp_path / "w"
    options = ["--epochs", "1", "--batch-size", "3", "--lr", "0.64", "--seed", "5", "--val", "0.25"]
    options += ["--recipe", "gentle", "--no-everything"]
    result = run(folders, "--work-dir", work, *options)
    assert result.exit_code == 0, result.output
    report = (work / "report.txt").read_text()
    for words in ("2 classes; clips: 6 in train and 2 in val", "learning rate 0.03", "most often taken for"):
        assert words in report
    assert "most often taken for" in result.output
    told = [record.message for record in caplog.records]
    assert all(told.count(line) == 1 for line in report.split("\n\n")[0].splitlines()), (
        "said once, and not again"
    )
    assert "2 classes" not in result.output
    drawn = invoke("report", work)
    assert drawn.exit_code == 0, drawn.output
    assert drawn.output.startswith(report)
    assert drawn.output.rstrip().endswith("curves.png")
    assert from_pretrained(work / "model").labels == ("dark", "light")
    video = folders / "clips" / "dark" / "0.mkv"
    answer = invoke("predict", video, "--model", work / "model", "--device", "cpu")
    assert answer.exit_code == 0, answer.output
    assert "dark" in answer.output
    again = run(folders, "--work-dir", work, *options)
    assert again.exit_code == 1
    assert "holds a training already" in again.output
    resumed = run(folders, "--work-dir", work, *options, "--resume")
    assert resumed.exit_code == 0, resumed.output


def test_linear_probe_and_lists(folders: Path, tmp_path: Path) -> None:
    rows = [
        f"{label}/{place}.mkv {number}"
        for number, label in enumerate(("dark", "light"))
        for place in range(4)
    ]
    (tmp_path / "list.txt").write_text("\n".join(rows))
    (tmp_path / "names.txt").write_text("night\nday\n")
    command = ["finetune", tmp_path / "list.txt", "--model", folders / "model", "--linear-probe"]
    command += ["--root", folders / "clips", "--labels", tmp_path / "names.txt"]
    command += ["--work-dir", tmp_path / "w", "--workers", "0", "--views", "2x1"]
    result = invoke(*command)
    assert result.exit_code == 0, result.output
    assert from_pretrained(tmp_path / "w" / "model").labels == ("night", "day")
    assert "Linear probe" in (tmp_path / "w" / "report.txt").read_text()


def test_what_the_command_hands_on(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an option of reading: the other classes of a folder with an empty one; "~"; ``--set``."""
    given: dict[str, Any] = {}

    def stop(data: dict[str, Annotations], *_: Any, **options: Any) -> None:
        given.update(options, train=data["train"])
        raise InputError("so far")

    monkeypatch.setattr("slowfast_zoo.training.finetune.finetune.finetune", stop)
    monkeypatch.setenv("HOME", str(tmp_path))
    (folders / "clips" / "nothing").mkdir()
    settings = ["--set", "label_smoothing=0.1", "--set", "layer_decay=0.7", "--set", "seed=3"]
    result = run(folders, "--work-dir=~/w", "--fps", "25", "--thaw-at", "0.3", *settings)
    (folders / "clips" / "nothing").rmdir()
    assert "Left out classes whose folders hold no clips: 'nothing'." in result.output
    assert result.output.endswith("so far\n")
    assert given["train"].labels == ("dark", "light") and given["work_dir"] == tmp_path / "w"
    told = {"label_smoothing": 0.1, "layer_decay": 0.7, "seed": 3}
    assert given["config"] == {"workers": 0, "thaw_at": 0.3} | told and torch.initial_seed() == 3


def test_help_names_every_recipe() -> None:
    said = " ".join(invoke("finetune", "--help").stdout.split())
    assert f"Take this one without trials: {', '.join([*RECIPES][:-1])} or {[*RECIPES][-1]}." in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "slowfast_r51_8x8x1"], "file 'slowfast_r51_8x8x1'. Did you mean"),
        (["--linear-probe", "--from-scratch"], "trained features"),
        (["--recipe", "probe", "--from-scratch"], "leave out --from-scratch or --recipe probe."),
        (["--like", "slowfast_tiny"], "--like says whose network a checkpoint file has"),
        (["--epochs", "0"], "epochs is 0"),
        (["--epochs", "3", "--budget", "1m"], "A budget decides how many steps there are, and so do"),
        (["--optimizer", "sgd"], "needs its own rate (lr, --lr)"),
        (["--budget", "soon"], "'soon' is no time; accepted: such as 90s, 10m or 2h"),
        (["--recipe", "lern"], "There is no recipe 'lern'. Did you mean 'learn'"),
        (["--linear-probe", "--recipe", "plain"], "--linear-probe is --recipe probe"),
        (["--set", "mixup"], "--set mixup isn't FIELD=VALUE"),
        (["--set", "mixupp=0.4"], "Did you mean 'mixup'"),
        (["--set", "seed=no"], "seed is 'no'"),
        (["--set", "thaw_at=0.5"], "no part of the network is frozen"),
        (["--set", "optimizer=sgd"], "needs its own rate (lr, --lr)"),
        (["--set", "epochs=3", "--budget", "1m"], "A budget decides how many steps there are, and so do"),
        (["--set", "thaw_at=0.5", "--thaw-at", "0.3"], "thaw_at is given twice, as 0.3 and as 0.5"),
        (["--val", "1.5"], "val is 1.5"),
        (["--smallest-area", "2"], "smallest_area is 2.0; accepted: a number above 0 to 1"),
        (["--freeze", "stage9"], "There is no part 'stage9'"),
        (["--freeze", "stem", "--from-scratch"], "would leave random weights as they are: start"),
        (["--views", "some"], "'some' is neither quick nor published"),
        (["--work-dir", str(Path(__file__, "w"))], "can't be written"),
        (["--validation", "nowhere"], "There is no dataset at 'nowhere'"),
    ],
)
def test_errors_are_one_sentence(folders: Path, tmp_path: Path, options: list[str], message: str) -> None:
    result = run(folders, "--work-dir", tmp_path / "w", *options)
    assert result.exit_code == (2 if {"some", "soon"} & set(options) else 1)
    assert message in result.output
    assert "Traceback" not in result.output


def test_from_scratch_forgets_the_weights(folders: Path, tmp_path: Path) -> None:
    result = run(folders, "--work-dir", tmp_path / "w", "--from-scratch", "--epochs", "1", "--preview")
    assert result.exit_code == 0, result.output
    assert "Frozen" not in result.output
    assert "Linear probe" not in result.output
    with Image.open(tmp_path / "w" / "preview.png") as sheet:
        assert sheet.size == (32 * 8, 32 * 6)
    old, new = (
        from_pretrained(folder).slow.stem.conv.weight
        for folder in (folders / "model", tmp_path / "w" / "model")
    )
    assert (old - new).abs().max() > 0.01
