"""Predictions as pictures and videos."""
