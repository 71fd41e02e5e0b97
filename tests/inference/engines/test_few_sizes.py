"""Batches of any size by few compiled ones, as the engine "compile" has them on a GPU."""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from slowfast_zoo.inference.engines.torch_compile.cuda_graphs import FewSizes, padded


def doubled(clips: Tensor) -> Tensor:
    return clips.flatten(1).sum(1, keepdim=True) * 2


def few() -> tuple[FewSizes, list[int]]:
    made: list[int] = []

    def make(size: int) -> object:
        made.append(size)

        def fixed(clips: Tensor) -> Tensor:
            assert len(clips) == size
            return doubled(clips)

        return padded(fixed, size)

    return FewSizes(make), made  # type: ignore[arg-type]


def test_a_size_that_is_there_serves_smaller_batches() -> None:
    run, made = few()
    for count in (30, 32, 12, 7, 5, 3, 2, 1, 30, 17):
        clips = torch.randn(count, 3, 2, 2, 2)
        torch.testing.assert_close(run(clips), doubled(clips))
    assert made == [32, 4], "7 and 12 fill 32 well enough, 3 doesn't; 1 and 2 go with 4"


def test_a_single_clip_never_pays_for_thirty_two() -> None:
    run, made = few()
    for count in (32, 1, 33):
        run(torch.randn(count, 3, 2, 2, 2))
    assert made == [32, 1, 64]


def test_threads_make_a_size_once() -> None:
    run, made = few()
    clips = torch.randn(3, 3, 2, 2, 2)
    answers: list[Tensor] = []
    threads = [threading.Thread(target=lambda: answers.append(run(clips))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [4]
    assert len(answers) == 4
    for answer in answers:
        torch.testing.assert_close(answer, doubled(clips))
