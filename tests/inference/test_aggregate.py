"""Views become one answer, by the publishers' rules."""

from __future__ import annotations

import pytest
import torch

from slowfast_zoo.errors import UnknownNameError
from slowfast_zoo.inference.aggregate import average_views, probabilities, scores_text

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 3.0, 0.5]])
SOFT, SIGMOID = LOGITS.softmax(1), LOGITS.sigmoid()


def test_scores_are_the_publishers() -> None:
    torch.testing.assert_close(average_views(LOGITS, "softmax", "mean-prob"), SOFT.mean(0))
    torch.testing.assert_close(average_views(LOGITS, "softmax", "sum-prob"), SOFT.sum(0))
    torch.testing.assert_close(average_views(LOGITS, "softmax", "max-prob"), SOFT.amax(0))
    torch.testing.assert_close(average_views(LOGITS, "sigmoid", "mean-prob"), SIGMOID.mean(0))
    torch.testing.assert_close(average_views(LOGITS, "softmax", "mean-logit"), LOGITS.mean(0))


def test_probabilities_rank_alike_and_stay_probabilities() -> None:
    torch.testing.assert_close(probabilities(LOGITS, "softmax", "mean-prob"), SOFT.mean(0))
    torch.testing.assert_close(probabilities(LOGITS, "softmax", "sum-prob"), SOFT.mean(0))
    torch.testing.assert_close(probabilities(LOGITS, "softmax", "mean-logit"), LOGITS.mean(0).softmax(0))
    torch.testing.assert_close(probabilities(LOGITS, "sigmoid", "mean-logit"), LOGITS.mean(0).sigmoid())
    torch.testing.assert_close(probabilities(LOGITS, "sigmoid", "max-prob"), SIGMOID.amax(0))
    assert probabilities(LOGITS.bfloat16(), "softmax", "mean-prob").dtype == torch.float32


def test_names_are_told_on_one_line_that_no_terminal_obeys() -> None:
    assert scores_text(["run", "sit\n\x1b[2Jdown\r"], [0.931, 0.04]) == "run 93.1%, sit \\u001b[2Jdown 4.0%"


@pytest.mark.parametrize("average", [average_views, probabilities])
def test_an_unknown_rule_is_an_error(average: object) -> None:
    assert callable(average)
    with pytest.raises(
        UnknownNameError, match=r"can't be averaged by 'mean-probs'.* Did you mean 'mean-prob'"
    ):
        average(LOGITS, "softmax", "mean-probs")
