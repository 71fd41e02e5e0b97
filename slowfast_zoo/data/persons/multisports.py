"""MultiSports' annotations: one pickle of tubes, read without running anything in it.

Source: https://github.com/MCG-NJU/MultiSports.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from slowfast_zoo.data.persons.actions import PersonActions, RowList
from slowfast_zoo.data.persons.pickled import PlainPickle
from slowfast_zoo.errors import DataError, InputError
from slowfast_zoo.files import expanded

Part = Literal["train", "test"]

_MOST_FRAMES = 10_000_000
"""Of all videos of a part; those published have less than a tenth."""


def read_multisports(path: str | Path, part: Part = "test") -> tuple[PersonActions, dict[int, str]]:
    """The boxes of a part, and the actions' names by number, which begin at 0.

    Boxes are in pixels, "seconds" are frame numbers from 1, and a person's number is that of the tube, from 0
    in each video. Every frame of every video was looked at.

    Args:
        path: of the pickle, such as multisports_GT.pkl.
        part: of the videos.

    Raises:
        InputError: another part.
        DataError: the file can't be read, or isn't MultiSports'.
    """
    if part not in ("train", "test"):
        raise InputError(f"part is {part!r}; accepted: 'train' or 'test'.")
    pickle = PlainPickle(expanded(path), "annotations")
    found = RowList()
    try:
        labels = [str(label) for label in pickle.value["labels"]]
        for video in pickle.value[f"{part}_videos"][0]:
            frames = int(pickle.value["nframes"][video])
            if frames + len(found.frames) > _MOST_FRAMES:
                raise ValueError(f"'{video}' has {frames} frames, more than any video")
            for frame in range(1, frames + 1):
                found.look((str(video), float(frame)))
            number = 0
            for label, tubes in sorted(pickle.value["gttubes"].get(video, {}).items()):
                if type(label) is not int or not 0 <= label < len(labels):
                    raise ValueError(f"'{video}' has the label {label!r:.40}, and there are {len(labels)}")
                for tube in map(pickle.array, tubes):
                    if tube.ndim != 2 or tube.shape[1] < 5 or not np.isfinite(tube).all():
                        raise ValueError(f"'{video}' has a tube of shape {tube.shape}, or without numbers")
                    for row in tube.tolist():
                        found.add((str(video), float(row[0])), row[1:5], label, 1.0, number)
                    number += 1
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"The annotations '{path}' aren't MultiSports': {error!s:.200}.") from error
    return found.finished(), dict(enumerate(labels))
