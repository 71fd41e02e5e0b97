"""Through torch.hub, without installing the package.

It needs torch, numpy, safetensors, filelock, tqdm and httpx2, and asks for all of them first.
Run: python examples/torch_hub.py. From a repository: torch.hub.load("<owner>/slowfast_zoo", ...).
"""

from pathlib import Path

import torch

checkout = str(Path(__file__).parent.parent)
model = torch.hub.load(checkout, "slowfast_tiny", source="local", pretrained=True)
picture = torch.nn.functional.interpolate(torch.randn(1, 3, 10, 10), size=(80, 80), mode="bilinear")
clip = picture[:, :, None].expand(-1, -1, 8, -1, -1)  # (B, C, T, H, W): the same picture eight times
print("eight times the same picture:", model.labels[model(clip).argmax()])
