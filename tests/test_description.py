"""``describe`` and the commands around the catalog."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from slowfast_zoo import ModelSpec, SlowFast, describe, get_weights, list_models, list_weights
from slowfast_zoo.cli import main
from slowfast_zoo.description import multiply_adds
from slowfast_zoo.errors import InputError


def test_multiply_adds_are_the_published_ones() -> None:
    """Sources: MMAction2's and PyTorchVideo's model zoo pages, which count one 256-pixel clip."""
    published = {
        ("slowfast_r50_8x8x1", "pytorchvideo/k400"): 65.71,
        ("slowfast_r50_4x16x1", "mmaction2/k400-256e-320p"): 36.10,
        ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p"): 65.71,
    }
    for (model, tag), giga in published.items():
        assert describe(model, tag).multiply_adds[256] / 1e9 == pytest.approx(giga, abs=0.006)


def test_a_network_without_a_name_is_called_what_it_is() -> None:
    with torch.device("meta"):
        model = SlowFast(ModelSpec(depth=14))
    for provenance in ({}, {"model": None}):
        model.provenance = dict(provenance)
        assert describe(model).name == "SlowFast"


def test_multiply_adds_of_a_net_that_can_be_counted_by_hand() -> None:
    from slowfast_zoo import ModelSpec
    from slowfast_zoo.spec import RoiSpec

    spec = ModelSpec(depth=14, base_width=8, beta_inv=8, alpha=8, num_frames=8, num_classes=2)
    # One block a stage. Each line: numbers that a convolution gives out times products for each of them.
    slow = (  # 8 channels, 1 frame; maps of 16, then 8, 8, 4, 2, 1 cells a side
        8 * 16**2 * (3 * 7 * 7),
        *(8 * 8**2 * 10, 8 * 8**2 * (9 * 8), 32 * 8**2 * 8, 32 * 8**2 * 10),
        *(16 * 8**2 * 40, 16 * 4**2 * (9 * 16), 64 * 4**2 * 16, 64 * 4**2 * 40),
        *(32 * 4**2 * (3 * 80), 32 * 2**2 * (9 * 32), 128 * 2**2 * 32, 128 * 2**2 * 80),
        *(64 * 2**2 * (3 * 160), 64 * (9 * 64), 256 * 64, 256 * 160),
    )
    fast = (  # 1 channel, 8 frames, each convolution over time sees 3, the stem's 5
        16**2 * (3 * 5 * 7 * 7),
        *(8**2 * 3, 8**2 * 9, 4 * 8**2, 4 * 8**2),
        *(2 * 8**2 * (3 * 4), 2 * 4**2 * (9 * 2), 8 * 4**2 * 2, 8 * 4**2 * 4),
        *(4 * 4**2 * (3 * 8), 4 * 2**2 * (9 * 4), 16 * 2**2 * 4, 16 * 2**2 * 8),
        *(8 * 2**2 * (3 * 16), 8 * (9 * 8), 32 * 8, 32 * 16),
    )
    laterals = (2 * 8**2 * 5, 8 * 8**2 * (5 * 4), 16 * 4**2 * (5 * 8), 32 * 2**2 * (5 * 16))
    classifier = (256 + 32) * 2
    assert multiply_adds(spec, 32) == sum(slow) + 8 * sum(fast) + sum(laterals) + classifier == 2_565_824
    relating = spec.replace(roi=RoiSpec(acrn=True))
    for side, cells in ((32, 1), (36, 2)):  # at stride 32: the person once, the frame at each place
        first, second = 288**2 * (cells**2 + 1), 288**2 * 9 * cells**2
        plain = multiply_adds(relating.replace(roi=RoiSpec()), side)
        assert multiply_adds(relating, side) - plain == first + second
    assert multiply_adds(spec.replace(num_classes=12), 32) - multiply_adds(spec, 32) == 10 * spec.num_features


def test_describe_says_what_is_read() -> None:
    text = str(describe("slowfast_r50_8x8x1", "pytorchvideo/k400"))
    assert "32 frames, one frame in 2 at 30 fps (seconds) = 2.13 s" in text
    assert "8 of them: [0, 4, 8, 13, 17, 22, 26, 31] (linspace)" in text
    assert "34,566,488" in text
    assert "top-1 76.94 %" in text


def test_a_config_name_means_its_newest_weights() -> None:
    config = "slowfast_prebn_r50_4x16x1_256e_kinetics400_rgb"
    row = get_weights("slowfast_r50_4x16x1", "mmaction2/k400-256e-320p-prebn")
    assert row.config_name == config
    assert str(describe(config)) == str(describe(row.model, row.tag))
    assert describe(config, "gluoncv/k400").weights == get_weights(row.model, "gluoncv/k400")


def test_describe_shows_every_column_of_the_page() -> None:
    row = get_weights("slowfast_r50_16x8x1", "mmaction2/sthv1-22e@53355c16")
    text = str(describe(row.model, row.tag))
    for part in (
        "8 GPUs, 9293 MB each",
        "height 100",
        "20210606_225114.log,",
        "20210606_225114.log.json",
        row.source,
    ):
        assert part in text
    assert "1.6 video/s" in str(describe("slowfast_r50_4x16x1", "mmaction2/k400-256e-320p"))


@pytest.mark.parametrize("name", list_models())
def test_every_model_can_be_described(name: str) -> None:
    result = CliRunner().invoke(main, ["describe", name])
    assert result.exit_code == 0, result.output
    assert name in result.output


def test_list_filters() -> None:
    def rows(*arguments: str) -> list[str]:
        result = CliRunner().invoke(main, ["list", *arguments])
        assert result.exit_code == 0, result.output
        return result.output.splitlines()[1:]

    everything = rows("--all")
    assert len(everything) == len(list_weights())
    assert sum(row.count(" * ") for row in everything) == len(list_models())
    assert 0 < len(rows()) < len(everything)
    assert {row.split()[0] for row in rows("*r101*")} == set(list_models("*r101*"))
    assert all("charades" in row for row in rows("--data", "charades"))
    assert all(" gluoncv/" in row for row in rows("--publisher", "gluon"))


def test_list_as_json() -> None:
    rows = json.loads(CliRunner().invoke(main, ["list", "--json"]).output)
    assert len(rows) == len(list_weights())
    assert rows[0]["model_spec"]["depth"] == 50


def test_what_is_neither_a_name_nor_a_network_is_told_what_it_is() -> None:
    wrapped: Any = nn.DataParallel(SlowFast(ModelSpec(depth=14, num_classes=3)))
    with pytest.raises(
        InputError, match=r"takes a name or a SlowFast model, got DataParallel \(give model\.module\)"
    ):
        describe(wrapped)


def test_mistakes_get_one_sentence_and_status_1() -> None:
    result = CliRunner().invoke(main, ["describe", "slowfast_r50"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: There is no model, folder or file 'slowfast_r50'. Did you mean")
    result = CliRunner().invoke(main, ["list", "x3d*"])
    assert result.exit_code == 1
    assert "Nothing fits" in result.output
