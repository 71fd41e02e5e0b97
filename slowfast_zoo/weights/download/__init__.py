"""A URL to a verified local file."""
