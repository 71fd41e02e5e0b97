"""Training: datasets, recipes, the loop, fine-tuning, evaluation and the procedural camera-motion data."""
