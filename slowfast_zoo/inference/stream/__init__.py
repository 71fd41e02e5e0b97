"""Answers about what happens now: frames that arrive, and cameras that are watched."""
