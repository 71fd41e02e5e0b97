"""Fine-tuning in your own PyTorch loop; two lines are ours.

Run: python examples/finetune.py. Learns to tell two of the camera's motions from noise; use your own dataset
of (clip, class) instead of ``MotionClips``.
"""

import torch

import slowfast_zoo as zoo
from slowfast_zoo.data.motion.clips import MotionClips

torch.manual_seed(0)
model = zoo.slowfast_tiny(pretrained=True, labels=["pan", "other"])  # a fresh classifier on trained pathways
transform = zoo.eval_transform(model.clip_spec)  # (T, H, W, 3) uint8 -> (3, T, H, W) float32

recorded = MotionClips(160, size=80, num_frames=8, fps=5, seed=7)
clips = torch.stack([transform(frames) for frames, _ in recorded])
targets = torch.tensor([int(not recorded.labels[label].startswith("pan")) for _, label in recorded])

model.freeze("stage4", norms=True)
optimizer = torch.optim.AdamW(model.get_classifier().parameters(), lr=0.03)
model.train()
for epoch in range(5):
    for batch in torch.randperm(len(clips)).split(16):
        loss = torch.nn.functional.cross_entropy(model(clips[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss:.3f}")
