"""Write this folder's reference files by running the publishers' released networks.

Run it in an environment of its own (the peers pin old packages), on any machine without a GPU::

    python -m venv peers && . peers/bin/activate
    pip install torch torchvision
    pip install mmengine==0.10.7 mmcv-lite==2.1.0 importlib_metadata mmaction2==1.2.0
    pip install pytorchvideo==0.1.5
    pip install --no-deps gluoncv==0.10.5.post0
    python tests/reference/make.py

It takes about two minutes and 2 GiB, most of it for drawing weights. Two of the three don't import
as they come, which is worked around here rather than in the installed packages:

- MMAction2 declares neither mmengine nor mmcv nor importlib_metadata, and refuses mmcv 2.2 and
  later; full mmcv isn't needed. Its wheel lacks one folder (``localizers/drn``) that its own code
  imports: an empty stand-in takes that place. Keep ``transformers`` out of the environment, since
  a recent one breaks MMAction2's multimodal models.
- GluonCV refuses torch 2 when it is imported; its SlowFast file is self-contained and is loaded by
  path. The factories want a configuration object, of which they read eight fields.
- PyTorchVideo's models import as they are (only its transforms don't).

MMAction2's networks for persons want mmdet and mmcv's compiled RoIAlign: torchvision's operator and a few
empty names take their place. PySlowFast's two networks for persons (``KEPT``) were run from its source at
commit 287ec007, which needs detectron2: they are kept, not made again.

PySlowFast has no release that contains its networks: the packages of that name on the Python
index are placeholders. Its references are therefore *derived*: PyTorchVideo's network, which is
the same function, takes weights seeded by PySlowFast's key names, and the head's output follows
PySlowFast's rule (softmax, or sigmoid for Charades, at every place of the window, then the mean).
What is stored is the log of that mean (for sigmoid the logit), computed in float64, because
probabilities of seeded networks underflow.

Sources:
    https://github.com/open-mmlab/mmaction2 (configs/recognition/slowfast)
    https://github.com/facebookresearch/pytorchvideo (pytorchvideo/models/hub/slowfast.py)
    https://github.com/dmlc/gluon-cv (gluoncv/torch/model_zoo/action_recognition/slowfast.py)
    https://github.com/facebookresearch/SlowFast (configs; slowfast/models/head_helper.py)
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import lzma
import math
import re
import sys
import types
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from reference import NETWORKS_FILE, OUTPUTS_FILE, Case
from reference.seeded import seeded_input, seeded_state_dict


@dataclasses.dataclass(frozen=True)
class Peer:
    """One publisher's network, ready to be run on each of its cases."""

    name: str
    package: str
    build: Callable[[int | None], nn.Module]
    """Takes the side of the head's pooling window; networks with a global pool ignore it."""
    run: Callable[[nn.Module, Tensor], Tensor]
    """Takes the network and a clip (B, 3, T, H, W); gives what is stored, (B, classes)."""
    cases: tuple[Case, ...]
    own_key: Callable[[str], str] = str
    """The publisher's name for a key of the network that is run."""


BOXES = (
    (0, 10.5, 8.25, 90.75, 120.0),
    (0, 0, 0, 176, 128),
    (0, 100, 20, 130.5, 100.25),
    (0, -8, -5, 40, 60),
    (0, 170, 120, 200, 150),
    (0, 60, 60, 61, 61),
    (1, 33.25, 21.75, 77.125, 99.875),
    (1, 88, 64, 175, 127),
)
"""Ordinary, the whole frame, partly and mostly outside, a pixel; of two clips of 128 x 176 pixels."""

PERSONS = Case(2, 32, 128, 176, boxes=BOXES)


def cases(frames: int, *others: Case, window: int | None = None) -> tuple[Case, ...]:
    """The small clip that every network is run on, and what is added to it."""
    return (Case(1, frames, 64, 64, window), *others)


# --- MMAction2 -------------------------------------------------------------------------------

# Every network as a config that 1.2.0 ships plus what the 0.x config of that name changes.
MMACTION2: dict[str, tuple[str, dict[str, Any]]] = {
    "r50_4x16x1": ("slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb", {}),
    "r50_8x8x1": ("slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb", {}),
    "r50_8x8x1_steplr": ("slowfast_r50_8xb8-8x8x1-steplr-256e_kinetics400-rgb", {}),
    "r50_16x8x1_sthv1": (
        "slowfast_r50_8xb8-8x8x1-256e_kinetics400-rgb",
        {"model.cls_head.num_classes": 174},
    ),
    "r101_r50_4x16x1": ("slowfast_r101-r50_32xb8-4x16x1-256e_kinetics400-rgb", {}),
    "r101_8x8x1": ("slowfast_r101_8xb8-8x8x1-256e_kinetics400-rgb", {}),
    "r152_r50_4x16x1": (
        "slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb",
        {"model.backbone.slow_pathway.depth": 152},
    ),
}


def mmaction2_peers() -> Iterator[Peer]:
    """OpenMMLab's recognition networks: global pool, every alpha-th slow frame."""
    missing = "mmaction.models.localizers.drn"
    stand_in = types.ModuleType(f"{missing}.drn")
    stand_in.DRN = type("DRN", (), {})  # type: ignore[attr-defined]
    sys.modules[missing] = types.ModuleType(missing)
    sys.modules[f"{missing}.drn"] = stand_in

    import mmaction.models  # registers what the configs name
    from mmaction.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope("mmaction")
    folder = Path(mmaction.__file__).parent / ".mim" / "configs" / "recognition" / "slowfast"
    more = {
        "r50_4x16x1": (
            Case(2, 32, 64, 64),
            Case(1, 32, 224, 224),
            Case(1, 32, 256, 256),
            Case(1, 40, 97, 131),
        ),
        "r50_8x8x1": (Case(2, 36, 97, 131),),
        "r50_8x8x1_steplr": (Case(1, 32, 131, 97),),
    }

    def build(_: int | None, config_name: str, changes: dict[str, Any]) -> nn.Module:
        config = Config.fromfile(folder / f"{config_name}.py")
        config.merge_from_dict(changes)
        return MODELS.build(config.model)

    for name, (config_name, changes) in MMACTION2.items():
        yield Peer(
            name=f"mmaction2/{name}",
            package="mmaction2",
            build=functools.partial(build, config_name=config_name, changes=changes),
            run=lambda model, clip: model.cls_head(model.backbone(clip)),
            cases=cases(64 if "16x8" in name else 32, *more.get(name, ())),
        )


DETECTION: dict[str, tuple[str, dict[str, Any]]] = {
    "ava_r50_4x16x1": ("slowfast/slowfast_kinetics400-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb", {}),
    "ava_r50_4x16x1_context": (
        "slowfast/slowfast_kinetics400-pretrained-r50-context_8xb16-4x16x1-20e_ava21-rgb",
        {},
    ),
    "ava_r50_8x8x1": ("slowfast/slowfast_kinetics400-pretrained-r50_8xb8-8x8x1-20e_ava21-rgb", {}),
    "ava_r50_8x8x1_temporal_max": (
        "slowfast/slowfast_kinetics400-pretrained-r50-temporal-max_8xb6-8x8x1-cosine-10e_ava22-rgb",
        {},
    ),
    "multisports_r50_4x16x1": (
        "slowfast/slowfast_kinetics400-pretrained-r50_8xb16-4x16x1-8e_multisports-rgb",
        {},
    ),
    "ava_acrn_r50_8x8x1": (
        "acrn/slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e_ava22-rgb",
        {},
    ),
    "ava_acrn_r50_8x8x1_temporal_max": (
        "acrn/slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e_ava22-rgb",
        {"temporal_pool_mode": "max"},  # as in 0.x
    ),
}
"""Networks for persons, as 1.2.0's configs, and what is changed in the ROI extractor."""


class RoiAlign(nn.Module):
    """torchvision's operator in place of mmcv's, which has to be compiled."""

    def __init__(
        self, output_size: int, spatial_scale: float, sampling_ratio: int, pool_mode: str, aligned: bool
    ) -> None:
        super().__init__()
        assert pool_mode == "avg"
        self.options = (output_size, spatial_scale, sampling_ratio, aligned)

    def forward(self, maps: Tensor, boxes: Tensor) -> Tensor:
        from torchvision.ops import roi_align

        return roi_align(maps, boxes, *self.options)


class Persons(nn.Module):
    """MMAction2's body and ROI head under its detector's names, without its detector."""

    def __init__(self, backbone: nn.Module, roi_head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.roi_head = backbone, roi_head

    def forward(self, clip: Tensor) -> Tensor:
        boxes = torch.tensor(BOXES, dtype=torch.float32)
        answer: Tensor = self.roi_head._bbox_forward(self.backbone(clip), boxes, None)["cls_score"]
        return answer


def stand_in_for_mmdet() -> None:
    """Modules with the few names that MMAction2's ROI head takes from mmdet, and from mmcv's operators."""
    from mmengine.registry import MODELS, Registry

    class StandardRoIHead(nn.Module):
        with_bbox = True

        def __init__(self, extractor: nn.Module, head: nn.Module, shared: nn.Module | None = None) -> None:
            super().__init__()
            self.bbox_roi_extractor, self.bbox_head = extractor, head
            self.with_shared_head = shared is not None
            if shared is not None:
                self.shared_head = shared

    models = Registry("model", parent=MODELS, scope="mmdet")
    names: dict[str, dict[str, Any]] = {
        "mmcv.ops": {"RoIAlign": RoiAlign, "RoIPool": None},
        "mmdet": {},
        "mmdet.registry": {"MODELS": models, "TASK_UTILS": Registry("task util", scope="mmdet")},
        "mmdet.models": {},
        "mmdet.models.roi_heads": {"StandardRoIHead": StandardRoIHead},
        "mmdet.models.task_modules": {},
        "mmdet.models.task_modules.samplers": {"SamplingResult": object},
        "mmdet.structures": {},
        "mmdet.structures.bbox": {"bbox2roi": None},
    }
    for name, content in names.items():
        module = sys.modules[name] = types.ModuleType(name)
        module.__dict__.update(content, __path__=[])


def mmaction2_detection_peers() -> Iterator[Peer]:
    """OpenMMLab's networks for persons; ``stand_in_for_mmdet`` comes before the import of MMAction2."""
    import mmaction
    from mmaction.models.backbones.resnet3d_slowfast import ResNet3dSlowFast
    from mmaction.models.roi_heads.bbox_heads import BBoxHeadAVA
    from mmaction.models.roi_heads.roi_extractors import SingleRoIExtractor3D
    from mmaction.models.roi_heads.roi_head import AVARoIHead
    from mmaction.models.roi_heads.shared_heads import ACRNHead
    from mmengine.config import Config

    folder = Path(mmaction.__file__).parent / ".mim" / "configs" / "detection"

    def build(_: int | None, config_name: str, changes: dict[str, Any]) -> nn.Module:
        def options(part: Any) -> dict[str, Any]:
            return {key: value for key, value in part.items() if key != "type"}

        config = Config.fromfile(folder / f"{config_name}.py").model
        head = config.roi_head
        body = ResNet3dSlowFast(**options(config.backbone) | {"pretrained": None})
        shared = head.get("shared_head")
        return Persons(
            body,
            AVARoIHead(
                SingleRoIExtractor3D(**options(head.bbox_roi_extractor) | changes),
                BBoxHeadAVA(**options(head.bbox_head)),
                shared and ACRNHead(**options(shared)),
            ),
        )

    for name, (config_name, changes) in DETECTION.items():
        yield Peer(
            name=f"mmaction2/{name}",
            package="mmaction2",
            build=functools.partial(build, config_name=config_name, changes=changes),
            run=lambda model, clip: model(clip),
            cases=(PERSONS,),
        )


# --- PyTorchVideo, and PySlowFast derived from it ----------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """What PyTorchVideo's hub functions and PySlowFast's configs set; the rest are shared defaults."""

    frames: int = 32
    alpha: int = 4
    kernel: int
    depth: int = 50
    classes: int = 400
    temporal_blocks: int | None = None
    """Blocks of stage 3 with a temporal kernel, in both pathways; None: all."""

    def build(self, window: int | None) -> nn.Module:
        """PyTorchVideo's module, with a pooling window of that many cells."""
        from pytorchvideo.models.slowfast import create_slowfast

        more: dict[str, Any] = {}
        if self.temporal_blocks is not None:
            stage3 = ((3, 1, 1),) * self.temporal_blocks + ((1, 1, 1),) * (23 - self.temporal_blocks)
            slow = ((1, 1, 1), (1, 1, 1), stage3, (3, 1, 1))
            fast = ((3, 1, 1), (3, 1, 1), stage3, (3, 1, 1))
            more["stage_conv_a_kernel_sizes"] = (slow, fast)
        return create_slowfast(
            model_depth=self.depth,
            model_num_class=self.classes,
            slowfast_fusion_conv_kernel_size=(self.kernel, 1, 1),
            slowfast_fusion_conv_stride=(self.alpha, 1, 1),
            head_pool_kernel_sizes=(
                (self.frames // self.alpha, window, window),
                (self.frames, window, window),
            ),
            **more,
        )

    def pack(self, clip: Tensor) -> list[Tensor]:
        """Slow and fast input as both publishers' data loading picks them."""
        frames = clip.shape[2]
        indices = torch.linspace(0, frames - 1, frames // self.alpha).long()
        return [clip.index_select(2, indices), clip]


WINDOW_CASES = (
    Case(2, 32, 64, 64, 2),
    Case(1, 32, 224, 224, 7),
    Case(1, 32, 256, 256, 7),
    Case(1, 32, 97, 131, 2),
)


def pytorchvideo_peers() -> Iterator[Peer]:
    """The hub's three networks and the 4x16 one: a 7x7 window slides, logits are averaged."""
    for name, network in {
        "slowfast_4x16_r50": Network(alpha=8, kernel=5),
        "slowfast_r50": Network(kernel=7),
        "slowfast_r101": Network(kernel=5, depth=101),
        "slowfast_16x8_r101_50_50": Network(frames=64, kernel=5, depth=101, temporal_blocks=6),
    }.items():
        yield Peer(
            name=f"pytorchvideo/{name}",
            package="pytorchvideo",
            build=network.build,
            run=lambda model, clip, network=network: model(network.pack(clip)),  # type: ignore[misc]
            cases=cases(network.frames, *(WINDOW_CASES if name == "slowfast_r50" else ()), window=2),
        )


def pytorchvideo_detection_peers() -> Iterator[Peer]:
    """The hub's network for persons; logits, from in front of its sigmoid."""
    from pytorchvideo.models.hub import slowfast_r50_detection

    def run(model: nn.Module, clip: Tensor) -> Tensor:
        projected: list[Tensor] = []
        layer = model.detection_head.proj
        hook = layer.register_forward_hook(lambda module, inputs, out: projected.append(out))
        model(Network(kernel=7).pack(clip), torch.tensor(BOXES, dtype=torch.float32))
        hook.remove()
        return projected[0].flatten(1)

    yield Peer(
        name="pytorchvideo/slowfast_r50_detection",
        package="pytorchvideo",
        build=lambda _: slowfast_r50_detection(pretrained=False),
        run=run,
        cases=(PERSONS,),
    )


# PyTorchVideo's key, as a pattern, and PySlowFast's, in which S is the stage and P the pathway.
PYSLOWFAST_KEYS = [
    (r"blocks\.0\.multipathway_blocks\.(\d)\.conv\.", r"s1.pathway\1_stem.conv."),
    (r"blocks\.0\.multipathway_blocks\.(\d)\.norm\.", r"s1.pathway\1_stem.bn."),
    (r"blocks\.(\d)\.multipathway_fusion\.conv_fast_to_slow\.", r"s<\1>_fuse.conv_f2s."),
    (r"blocks\.(\d)\.multipathway_fusion\.norm\.", r"s<\1>_fuse.bn."),
    (r"blocks\.(\d)\.multipathway_blocks\.(\d)\.res_blocks\.(\d+)\.", r"s<\1>.pathway\2_res\3."),
    (r"branch1_conv\.", "branch1."),
    (r"branch1_norm\.", "branch1_bn."),
    (r"branch2\.conv_([abc])\.", r"branch2.\1."),
    (r"branch2\.norm_([abc])\.", r"branch2.\1_bn."),
    (r"blocks\.6\.proj\.", "head.projection."),
]


def pyslowfast_key(key: str) -> str:
    """PySlowFast's name for a key of PyTorchVideo, whose blocks count from 0 and not from 1."""
    for pattern, replacement in PYSLOWFAST_KEYS:
        key = re.sub(pattern, replacement, key)
    return re.sub(r"<(\d)>", lambda match: str(int(match[1]) + 1), key)


def pyslowfast_output(model: nn.Module, clip: Tensor, network: Network, sigmoid: bool) -> Tensor:
    """The log of the mean probability over the window's places (sigmoid: the logit of the mean)."""
    projected: list[Tensor] = []
    hook = model.blocks[-1].proj.register_forward_hook(lambda module, inputs, out: projected.append(out))
    model(network.pack(clip))
    hook.remove()
    places = projected[0].double().flatten(1, -2)  # (B, places, classes)
    if sigmoid:
        return torch.logit(places.sigmoid().mean(1)).float()
    return (places.log_softmax(-1).logsumexp(1) - math.log(places.shape[1])).float()


def pyslowfast_peers() -> Iterator[Peer]:
    """PySlowFast's recognition networks, derived (see the top of this file)."""
    more = {
        "SLOWFAST_8x8_R50": WINDOW_CASES,
        "Charades_SLOWFAST_16x8_R50": (Case(1, 64, 97, 131, 2),),
    }
    for name, network in {
        "SLOWFAST_4x16_R50": Network(alpha=8, kernel=5),
        "SLOWFAST_8x8_R50": Network(kernel=7),
        "SLOWFAST_8x8_R101_101_101": Network(kernel=5, depth=101),
        "SLOWFAST_16x8_R101_50_50": Network(frames=64, kernel=5, depth=101, temporal_blocks=6),
        "SSv2_SLOWFAST_16x8_R50": Network(frames=64, kernel=7, classes=174),
        "Charades_SLOWFAST_16x8_R50": Network(frames=64, kernel=7, classes=157),
    }.items():
        sigmoid = name.startswith("Charades")
        yield Peer(
            name=f"pyslowfast/{name}",
            package="pytorchvideo",
            build=network.build,
            run=functools.partial(pyslowfast_output, network=network, sigmoid=sigmoid),
            cases=cases(network.frames, *more.get(name, ()), window=2),
            own_key=pyslowfast_key,
        )


# --- GluonCV ---------------------------------------------------------------------------------


def gluoncv_peers() -> Iterator[Peer]:
    """GluonCV's torch networks: global pool, every alpha-th slow frame, laterals with batch norm."""
    package = importlib.util.find_spec("gluoncv")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("gluoncv is not installed; the top of this file says how to install it.")
    path = Path(package.origin).parent / "torch" / "model_zoo" / "action_recognition" / "slowfast.py"
    spec = importlib.util.spec_from_file_location("gluoncv_slowfast", path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]

    more = (Case(2, 32, 64, 64), Case(1, 32, 256, 256), Case(1, 40, 97, 131))
    for name, frames, classes in [
        ("slowfast_4x16_resnet50_kinetics400", 32, 400),
        ("slowfast_8x8_resnet50_kinetics400", 32, 400),
        ("slowfast_8x8_resnet101_kinetics400", 32, 400),
        ("slowfast_16x8_resnet101_50_50_kinetics400", 64, 400),
        ("slowfast_16x8_resnet50_sthsthv2", 64, 174),
    ]:
        fields = types.SimpleNamespace(
            DATA=types.SimpleNamespace(NUM_CLASSES=classes, NUM_SEGMENT=1, NUM_CROP=1),
            MODEL=types.SimpleNamespace(
                PRETRAINED=False, PRETRAINED_BASE=False, BN_EVAL=False, PARTIAL_BN=False, BN_FROZEN=False
            ),
            INFERENCE=types.SimpleNamespace(FEAT=False),
        )
        config = types.SimpleNamespace(CONFIG=fields)
        yield Peer(
            name=f"gluoncv/{name}",
            package="gluoncv",
            build=lambda _, name=name, config=config: getattr(module, name)(config),  # type: ignore[misc]
            run=lambda model, clip: model(clip),
            cases=cases(frames, *(more if name == "slowfast_8x8_resnet50_kinetics400" else ())),
        )


KEPT = ("pyslowfast/AVA_SLOWFAST_32x2_R50_SHORT", "pyslowfast/AVA_SLOWFAST_32x2_R101_50_50")


# --- all of them -----------------------------------------------------------------------------


def run_peer(peer: Peer) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """What is stored of one network: its description, and its output for every case."""
    outputs: dict[str, np.ndarray[Any, Any]] = {}
    entry: dict[str, Any] = {}
    weights: dict[str, Tensor] = {}
    for case in peer.cases:
        model = peer.build(case.window).eval()
        if not entry:
            names = {key: peer.own_key(key) for key in model.state_dict()}
            shapes = {names[key]: tuple(value.shape) for key, value in model.state_dict().items()}
            seeded = seeded_state_dict(shapes)
            weights = {key: seeded[name] for key, name in names.items()}
            entry = {
                "peer": f"{peer.package} {version(peer.package)}",
                "parameters": sum(value.numel() for value in model.parameters()),
                "shapes": shapes,
                "cases": [dataclasses.asdict(case) for case in peer.cases],
            }
        model.load_state_dict(weights, strict=True)
        clip = seeded_input(case.frames, (case.height, case.width), case.batch)
        outputs[f"{peer.name}/{case.name}"] = peer.run(model, clip).numpy()
    return entry, outputs


def main() -> None:
    """Run every peer and write both files beside this one."""
    before = json.loads(lzma.decompress(NETWORKS_FILE.read_bytes()))
    networks: dict[str, Any] = {name: before[name] for name in KEPT}
    with np.load(OUTPUTS_FILE) as arrays:
        outputs = {name: array for name, array in arrays.items() if name.startswith(KEPT)}
    stand_in_for_mmdet()
    for publisher in (
        mmaction2_peers,
        mmaction2_detection_peers,
        pytorchvideo_peers,
        pytorchvideo_detection_peers,
        pyslowfast_peers,
        gluoncv_peers,
    ):
        for peer in publisher():
            with torch.inference_mode():
                networks[peer.name], arrays = run_peer(peer)
            outputs.update(arrays)
            sys.stdout.write(f"{peer.name}: {len(arrays)} cases\n")
            sys.stdout.flush()
    NETWORKS_FILE.write_bytes(lzma.compress(json.dumps(networks).encode(), preset=9 | lzma.PRESET_EXTREME))
    np.savez_compressed(OUTPUTS_FILE, **outputs)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
