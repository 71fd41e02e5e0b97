"""Who does what in a video: persons' boxes in key frames, and their actions."""
