"""Entry points for ``torch.hub.load("<owner>/slowfast_zoo", "slowfast_r50_4x16x1", pretrained=True)``.

Building a model and loading its weights needs the packages in ``dependencies`` and nothing else;
``model(clip, boxes)`` of those named ``*_roi`` needs torchvision as well, and ``predict`` and the other
video functions need what ``pip install slowfast-zoo`` brings.
"""

dependencies = ["torch", "numpy", "safetensors", "filelock", "tqdm", "httpx2"]

from slowfast_zoo.zoo import *  # noqa: E402, F403
