"""Fine-tuning in two processes: the answers of one, wherever they stop."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.finetune_clips import make_clips, make_model, without_probe
from support.training_clips import log_of
from training.processes import two_processes

from slowfast_zoo.network.slowfast import SlowFast
from slowfast_zoo.training.finetune import recipes, search, trials
from slowfast_zoo.training.finetune.finetune import FinetuneResult, finetune
from slowfast_zoo.training.finetune.recipes import RECIPES
from slowfast_zoo.weights.saved.hub import from_pretrained


def tuned(folder: Path, model: SlowFast, **options: Any) -> FinetuneResult:
    """The whole of it in a few steps: two recipes compared, a training, another one on everything."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipes, "FEWEST_STEPS", 8)
        patch.setattr(trials, "_DRAWS", 1)
        # Batch norms that learn see fewer clips in two processes, and AdamW enlarges differences of rounding.
        slow = dataclasses.replace(RECIPES["measured"], config=RECIPES["gentle"].config)
        patch.setitem(RECIPES, "measured", slow)
        patch.setattr(search, "candidates", lambda spec: [RECIPES["gentle"], RECIPES["measured"]])
        patch.setattr(search, "_FEWEST_CLIPS", 8)
        patch.setattr(search, "_FEWEST_STEPS", 1)
        without_probe(patch)
        patch.setitem(sys.modules, "matplotlib", None)
        return finetune(
            folder.parent / "clips",
            model,
            work_dir=folder,
            config={"workers": 0, "deterministic": True, "batch_size": 4},
            keep_clip=True,
            views="quick",
            device="cpu",
            progress=False,
            **options,
        )


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
def test_two_processes_stop_together_and_go_on_to_what_one_would_give(tmp_path: Path) -> None:
    make_clips(tmp_path / "clips", {"dark": 6, "light": 6})
    children = two_processes(__file__, tmp_path / "two")
    alone = tuned(tmp_path / "one", make_model())
    assert len(alone.tried) == 3
    assert [child.wait(300) for child in children] == [0, 0]
    both = from_pretrained(tmp_path / "two" / "model")
    for name, tensor in both.state_dict().items():
        torch.testing.assert_close(tensor, alone.model.state_dict()[name], atol=1e-4, rtol=1e-3, msg=name)
    report = (tmp_path / "two" / "report.txt").read_text()
    assert "2 processes share a step, 2 clips each." in report
    assert alone.scores().splitlines()[1] in report, "how sure it is"
    starts = [line["step"] for line in log_of(tmp_path / "two" / "all") if line["mode"] == "start"]
    assert starts[0] == 0 and starts[1] > 0
    assert not [*(tmp_path / "two" / "search").iterdir()], "of finished trials only the scores are left"


def _child(folder: Path) -> None:
    """Ctrl-C in the first process, in the training on everything; then the same again."""
    torch.set_num_threads(1)
    starts: list[int] = []

    def stop(line: dict[str, Any]) -> None:
        if line["mode"] == "start":
            starts.append(line["step"])
        elif line["mode"] == "train" and len(starts) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        tuned(folder, make_model(), listener=stop)
    tuned(folder, make_model(), resume=True)


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
