"""Anybody's file to a model, strictly."""
