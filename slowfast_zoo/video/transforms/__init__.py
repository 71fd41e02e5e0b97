"""Frames to the network's input, to the bit."""
