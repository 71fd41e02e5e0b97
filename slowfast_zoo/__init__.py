"""The SlowFast checkpoints of four publishers in one class, each with its exact preprocessing.

The public names below are resolved on first use, so importing the package is instant;
``__init__.pyi`` lists them with their types.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "errors": ("SlowFastZooError",),
    "spec": ("ClipSpec", "ModelSpec", "RoiSpec"),
    "network.slowfast": ("SlowFast",),
    "zoo": (
        "create_model",
        "slowfast_r50_4x16x1",
        "slowfast_r50_8x8x1",
        "slowfast_r50_16x8x1",
        "slowfast_r101_r50_4x16x1",
        "slowfast_r101_8x8x1",
        "slowfast_r152_r50_4x16x1",
        "slowfast_r101_50_50_16x8x1",
        "slowfast_r50_4x16x1_roi",
        "slowfast_r50_8x8x1_roi",
        "slowfast_r101_50_50_8x8x1_roi",
        "slowfast_r101_50_50_16x8x1_roi",
        "slowfast_tiny",
    ),
    "description": ("Description", "describe"),
    "inference.engines.optimize": ("OptimizedModel", "optimize"),
    "inference.export.export": ("Export", "export"),
    "inference.benchmark": ("Benchmark", "benchmark"),
    "inference.detect.detect": ("detect",),
    "inference.detect.detections": ("Detections",),
    "inference.batch": ("BatchPredictor",),
    "inference.predict": ("Prediction", "predict", "predict_many"),
    "inference.segment_files": ("Timeline",),
    "inference.segments": ("Segment", "SegmentRules"),
    "inference.timeline": ("timeline",),
    "inference.features.features": ("extract_features",),
    "inference.features.files": ("Features",),
    "inference.stream.stream": ("Stream", "StreamResult"),
    "inference.stream.watch": ("watch",),
    "inference.render.render": ("contact_sheet", "render"),
    "inference.verify.verify": ("verify",),
    "data.dataset": ("open_dataset",),
    "data.lists": ("read_annotations",),
    "evaluation.evaluate": ("evaluate",),
    "training.finetune.finetune": ("finetune",),
    "training.recipe": ("TrainConfig",),
    "training.train": ("train",),
    "video.clips": ("Clips", "read_clips"),
    "video.decoding.reader": ("open_video",),
    "video.transforms.transforms": ("eval_transform", "train_transform"),
    "weights.catalog": ("get_weights", "list_models", "list_weights"),
    "weights.catalog.entry": ("WeightEntry",),
    "weights.checkpoint.loading": ("load_checkpoint",),
    "weights.saved.folder": ("save_pretrained",),
    "weights.saved.hub": ("from_pretrained", "push_to_hub"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'slowfast_zoo' has no attribute '{name}'")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
