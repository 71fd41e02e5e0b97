"""Fine-tuning in your own PyTorch loop; four lines are ours.

Run: python examples/finetune.py. Learns to tell pans from tilts, and says how well on clips that it wasn't
trained with; use your own dataset of (frames, class) instead of ``MotionClips``.
"""

import torch

import slowfast_zoo as zoo
from slowfast_zoo.data.motion.clips import MotionClips

torch.manual_seed(0)
model = zoo.slowfast_tiny(pretrained=True, labels=["pan", "tilt"])  # a fresh classifier on trained pathways
augment = zoo.train_transform(model.clip_spec)  # (T, H, W, 3) uint8 -> (3, T, H, W) float32, by chance
prepare = zoo.eval_transform(model.clip_spec)  # the same without chance

recorded = MotionClips(200, size=80, num_frames=8, fps=5, seed=7, scenes=20)
motions = [recorded.labels[index % 10].partition(" ")[0] for index in range(len(recorded))]
wanted = [index for index, motion in enumerate(motions) if motion in model.labels]
frames = [recorded[index][0] for index in wanted]
targets = torch.tensor([model.labels.index(motions[index]) for index in wanted])
train, held_back = torch.arange(len(wanted)).split(60)

model.freeze("stage4", norms=True)
optimizer = torch.optim.AdamW(model.get_classifier().parameters(), lr=0.03)
model.train()
for epoch in range(5):
    for batch in train[torch.randperm(len(train))].split(12):
        clips = torch.stack([augment(frames[index]) for index in batch])
        loss = torch.nn.functional.cross_entropy(model(clips), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss {loss:.3f}")
model.eval()
with torch.inference_mode():
    best = model(torch.stack([prepare(frames[index]) for index in held_back])).argmax(1)
print(f"{(best == targets[held_back]).sum()} of {len(held_back)} clips held back are right")
