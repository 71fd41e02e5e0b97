"""Annotated clips: lists, folders, datasets, splits, checks."""
