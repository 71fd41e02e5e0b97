"""The procedural camera-motion dataset."""
