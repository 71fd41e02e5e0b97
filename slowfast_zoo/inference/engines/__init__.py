"""The same network made fast."""
