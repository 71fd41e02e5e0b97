"""Fine-tuning in your own PyTorch loop: python examples/finetune.py learns to tell pans from tilts.

The model and the transforms of its input are ours; give your frames and classes in place of ``recorded``.
"""

import torch

import slowfast_zoo as zoo
from slowfast_zoo.data.motion.clips import MotionClips


def recorded(count: int, seed: int) -> tuple[list, torch.Tensor]:
    """Frames, uint8 (T, H, W, 3), and classes of two in five clips."""
    clips = MotionClips(count, size=80, num_frames=8, fps=5, seed=seed, scenes=8)
    wanted = [i for i in range(count) if clips.labels[i % 10].startswith(("pan", "tilt"))]
    return [clips[i][0] for i in wanted], torch.tensor([int("tilt" in clips.labels[i % 10]) for i in wanted])


torch.manual_seed(0)
model = zoo.slowfast_tiny(pretrained=True, labels=("pan", "tilt"))  # a fresh classifier on trained pathways
augment = zoo.train_transform(model.clip_spec)  # (T, H, W, 3) uint8 -> (3, T, H, W) float32, by chance
prepare = zoo.eval_transform(model.clip_spec)  # the same without chance
frames, targets = recorded(100, seed=7)
model.freeze("stage4", norms=True)
optimizer = torch.optim.AdamW(model.get_classifier().parameters(), lr=0.01)
model.train()
for epoch in range(5):
    for batch in torch.randperm(len(frames)).split(10):
        clips = torch.stack([augment(frames[index]) for index in batch])
        loss = torch.nn.functional.cross_entropy(model(clips), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss:.3f}")
model.eval()
frames, targets = recorded(50, seed=8)
with torch.inference_mode():
    best = model(torch.stack([prepare(clip) for clip in frames])).argmax(1)
print(f"{(best == targets).sum()} of {len(frames)} clips of other scenes are right")
