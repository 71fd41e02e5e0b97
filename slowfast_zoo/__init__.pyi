"""The public names; ``__init__.py`` resolves them on first use."""

from slowfast_zoo.data.dataset import open_dataset as open_dataset
from slowfast_zoo.data.lists import read_annotations as read_annotations
from slowfast_zoo.description import Description as Description
from slowfast_zoo.description import describe as describe
from slowfast_zoo.errors import SlowFastZooError as SlowFastZooError
from slowfast_zoo.evaluation.evaluate import evaluate as evaluate
from slowfast_zoo.inference.engines.optimize import OptimizedModel as OptimizedModel
from slowfast_zoo.inference.engines.optimize import optimize as optimize
from slowfast_zoo.inference.export.export import Export as Export
from slowfast_zoo.inference.export.export import export as export
from slowfast_zoo.inference.predict import Prediction as Prediction
from slowfast_zoo.inference.predict import predict as predict
from slowfast_zoo.inference.render.render import contact_sheet as contact_sheet
from slowfast_zoo.inference.render.render import render as render
from slowfast_zoo.inference.verify.verify import verify as verify
from slowfast_zoo.network.slowfast import SlowFast as SlowFast
from slowfast_zoo.spec import ClipSpec as ClipSpec
from slowfast_zoo.spec import ModelSpec as ModelSpec
from slowfast_zoo.training.finetune.finetune import finetune as finetune
from slowfast_zoo.training.recipe import TrainConfig as TrainConfig
from slowfast_zoo.training.train import train as train
from slowfast_zoo.video.clips import Clips as Clips
from slowfast_zoo.video.clips import read_clips as read_clips
from slowfast_zoo.video.transforms.transforms import eval_transform as eval_transform
from slowfast_zoo.video.transforms.transforms import train_transform as train_transform
from slowfast_zoo.weights.catalog import WeightEntry as WeightEntry
from slowfast_zoo.weights.catalog import get_weights as get_weights
from slowfast_zoo.weights.catalog import list_models as list_models
from slowfast_zoo.weights.catalog import list_weights as list_weights
from slowfast_zoo.weights.checkpoint.loading import load_checkpoint as load_checkpoint
from slowfast_zoo.weights.saved.hub import from_pretrained as from_pretrained
from slowfast_zoo.weights.saved.hub import push_to_hub as push_to_hub
from slowfast_zoo.weights.saved.hub import save_pretrained as save_pretrained
from slowfast_zoo.zoo import create_model as create_model
from slowfast_zoo.zoo import slowfast_r50_4x16x1 as slowfast_r50_4x16x1
from slowfast_zoo.zoo import slowfast_r50_8x8x1 as slowfast_r50_8x8x1
from slowfast_zoo.zoo import slowfast_r50_16x8x1 as slowfast_r50_16x8x1
from slowfast_zoo.zoo import slowfast_r101_8x8x1 as slowfast_r101_8x8x1
from slowfast_zoo.zoo import slowfast_r101_50_50_16x8x1 as slowfast_r101_50_50_16x8x1
from slowfast_zoo.zoo import slowfast_r101_r50_4x16x1 as slowfast_r101_r50_4x16x1
from slowfast_zoo.zoo import slowfast_r152_r50_4x16x1 as slowfast_r152_r50_4x16x1
from slowfast_zoo.zoo import slowfast_tiny as slowfast_tiny

__version__: str
