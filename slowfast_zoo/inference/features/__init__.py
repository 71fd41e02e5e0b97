"""One vector per window of a video, on a grid of time, and the files that they are written to."""
