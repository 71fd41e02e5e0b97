"""Scores of a model on a dataset."""

from typing import Literal

Metric = Literal["top_k_accuracy", "mean_class_accuracy", "mean_average_precision"]
Average = Literal["prob", "score", "none", "mean-prob", "mean-logit", "max-prob", "sum-prob"]
"""How a video's views are averaged: MMAction2's words, and those of ``ClipSpec.aggregate``."""
DetectionRule = Literal["official", "mmaction2-0.x", "mmaction2-1.x", "pyslowfast", "multisports"]
"""Whose frame mAP: ``evaluation.ava``."""
