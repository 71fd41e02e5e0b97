"""Whatever a caller names as a video: its name, and its bytes as FFmpeg can open them, again and again."""
