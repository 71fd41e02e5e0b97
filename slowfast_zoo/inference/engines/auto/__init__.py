"""What the engine "auto" stands for on this machine: what was measured here, or a rule."""
