"""Small data: a trained network on one's own clips."""
