"""Commands that answer about videos: what, when, what now, and as vectors."""
