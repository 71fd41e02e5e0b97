"""Stored references replayed; the first stage that differs is named."""
