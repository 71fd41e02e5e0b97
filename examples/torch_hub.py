"""Through torch.hub, without installing the package: building a model needs torch, numpy and safetensors.

Run: python examples/torch_hub.py. From a repository: torch.hub.load("<owner>/slowfast_zoo", ...).
"""

from pathlib import Path

import torch

checkout = str(Path(__file__).parent.parent)
model = torch.hub.load(checkout, "slowfast_tiny", source="local", pretrained=True).eval()
clip = torch.zeros(1, 3, 8, 80, 80)
print(model.labels[model(clip).argmax()], "is what a blank clip looks like")
