"""The publishers' networks, to be timed in a Python that has them; ``tests/reference/make.py`` says how.

A process of that Python: ``python peers.py PUBLISHER MODEL --size 224``, asked through ``workers.Worker``.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from machine import CLOCKS, finish, use_checkout
from torch import Tensor, nn
from workers import Tasks, serve

PEERS = {
    "slowfast_r50_4x16x1": {
        "mmaction2": "r50_4x16x1",
        "pytorchvideo": "slowfast_4x16_r50",
        "gluoncv": "slowfast_4x16_resnet50_kinetics400",
    },
    "slowfast_r50_8x8x1": {
        "mmaction2": "r50_8x8x1",
        "pytorchvideo": "slowfast_r50",
        "gluoncv": "slowfast_8x8_resnet50_kinetics400",
    },
    "slowfast_r101_r50_4x16x1": {"mmaction2": "r101_r50_4x16x1"},
    "slowfast_r101_8x8x1": {
        "mmaction2": "r101_8x8x1",
        "pytorchvideo": "slowfast_r101",
        "gluoncv": "slowfast_8x8_resnet101_kinetics400",
    },
    "slowfast_r152_r50_4x16x1": {"mmaction2": "r152_r50_4x16x1"},
    "slowfast_r50_16x8x1": {
        "mmaction2": "r50_16x8x1_sthv1",
        "gluoncv": "slowfast_16x8_resnet50_sthsthv2",
    },
}
"""Our model, and the network of each publisher that has it."""


def seeded(model: Any) -> Any:
    """The model with reproducible weights whose signals stay of order one, in eval mode."""
    from reference.seeded import seeded_state_dict

    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict(seeded_state_dict(shapes))
    return model.eval()


def noise(frames: int, size: int, batch: int = 1, *, seed: int = 0) -> Tensor:
    """Seeded clips (batch, 3, frames, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, frames, size, size, generator=generator)


def prepare_mmaction2() -> Any:
    """Makes MMAction2 importable and its registries usable; gives the folder of its configs."""
    from reference.make import mmaction2_peers

    next(mmaction2_peers())  # with the stand-in for what the wheel lacks
    from pathlib import Path

    import mmaction

    return Path(mmaction.__file__).parent / ".mim" / "configs" / "recognition" / "slowfast"


def tasks(arguments: argparse.Namespace) -> Tasks:
    """One task: the seconds of one batch of clips."""
    use_checkout()
    from reference import make

    torch.set_num_threads(arguments.threads)
    publishers = {
        "mmaction2": make.mmaction2_peers,
        "pytorchvideo": make.pytorchvideo_peers,
        "gluoncv": make.gluoncv_peers,
    }
    name = f"{arguments.publisher}/{PEERS[arguments.model][arguments.publisher]}"
    peer = next(peer for peer in publishers[arguments.publisher]() if peer.name == name)
    net: nn.Module = seeded(peer.build(7)).to(arguments.device)
    clip = noise(64 if "16x8" in arguments.model else 32, arguments.size, arguments.batch)
    clip = clip.to(arguments.device)
    clock = CLOCKS[arguments.clock]
    # PyTorch's default lets convolutions round to TF32; float32 means float32 here.
    torch.backends.cudnn.allow_tf32 = False

    def run() -> dict[str, Any]:
        with torch.inference_mode():
            finish(arguments.device)
            before = clock()
            peer.run(net, clip)
            finish(arguments.device)
            return {"seconds": clock() - before}

    return {"clip": run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("publisher", choices=["mmaction2", "pytorchvideo", "gluoncv"])
    parser.add_argument("model", choices=list(PEERS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    serve(lambda: tasks(arguments))


if __name__ == "__main__":
    main()
