"""From a video file to the clips that a weight was trained and scored with."""
