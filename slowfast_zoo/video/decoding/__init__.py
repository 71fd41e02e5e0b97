"""Any source to upright RGB frames, by index and by seconds."""
