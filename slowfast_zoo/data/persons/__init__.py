"""Persons in videos: their boxes, and what they do when."""
