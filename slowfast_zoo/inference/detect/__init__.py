"""Who does what in a video: persons' boxes in key frames, and their actions."""

from typing import Literal

DetectorName = Literal["person", "person-fast", "person-strong"]
"""What ``detector=`` takes: by the device, for processors, for GPUs; here, so that a list of choices needs no
torch."""
