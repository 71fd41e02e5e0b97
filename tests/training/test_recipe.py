"""Recipes: published numbers, learning-rate curves at every iteration, linear scaling, JSON."""

import json
import math

import pytest

from slowfast_zoo.errors import DataError, SpecError, UnknownNameError
from slowfast_zoo.training.published import get_recipe, list_recipes
from slowfast_zoo.training.recipe import TrainConfig
from slowfast_zoo.training.schedule import Plan, in_epochs, learning_rate
from slowfast_zoo.weights.catalog import get_weights

PAGE = {
    # recipe: GPUs, clips per GPU, epochs
    "slowfast_r50_4x16x1/mmaction2/k400-256e-256p": (32, 8, 256),
    "slowfast_r50_video_4x16x1_256e_kinetics400_rgb": (8, 8, 256),
    "slowfast_r50_4x16x1_256e_kinetics400_rgb": (16, 8, 256),
    "slowfast_prebn_r50_4x16x1_256e_kinetics400_rgb": (16, 8, 256),
    "slowfast_r50_8x8x1_256e_kinetics400_rgb": (24, 8, 256),
    "slowfast_r101_r50_4x16x1_256e_kinetics400_rgb": (8, 8, 256),
    "slowfast_r101_8x8x1_256e_kinetics400_rgb": (32, 8, 256),
    "slowfast_r152_r50_4x16x1_256e_kinetics400_rgb": (8, 8, 256),
    "slowfast_r50_16x8x1_22e_sthv1_rgb": (8, 4, 22),
}


def rates(config: TrainConfig, per_epoch: int, base: float, epochs: int) -> list[float]:
    return [learning_rate(config, i, per_epoch, base) for i in range(epochs * per_epoch)]


def test_the_pages_nine_rows_come_first() -> None:
    assert list_recipes()[:9] == list(PAGE)
    for name, (gpus, batch, epochs) in PAGE.items():
        recipe = get_recipe(name)
        assert (recipe.gpus, recipe.config.batch_size, recipe.config.epochs) == (gpus, batch, epochs)
        assert (recipe.config.momentum, recipe.config.grad_clip) == (0.9, 40.0)
        assert recipe.config.precise_bn_batches == (200 if "prebn" in name else 0)


def test_every_recipe_of_a_publisher_describes_its_row() -> None:
    for name in list_recipes():
        recipe = get_recipe(name)
        assert recipe.name == name and len(recipe.labels) == recipe.model_spec.num_classes
        if name != "camera-motion":
            entry = get_weights(recipe.model, recipe.tag)
            assert (recipe.model_spec, recipe.clip_spec) == (entry.model_spec, entry.clip_spec)
            assert get_recipe(f"{recipe.model}/{recipe.tag}") is recipe
            assert entry.config_name in name or name.endswith(recipe.tag)
        if recipe.initialize_from:
            start = get_weights(*recipe.initialize_from)
            assert (
                start.model_spec.replace(
                    num_frames=recipe.model_spec.num_frames,
                    num_classes=recipe.model_spec.num_classes,
                    activation=recipe.model_spec.activation,
                    stage4_stride=recipe.model_spec.stage4_stride,
                    roi=recipe.model_spec.roi,
                )
                == recipe.model_spec
            ), "the weights fit but for length, classes, activation and head"


@pytest.mark.parametrize("per_epoch", [1, 3, 939])
def test_kinetics_0x_is_cosine_by_epoch_times_warm_up_by_iteration(per_epoch: int) -> None:
    config = get_recipe("slowfast_r50_8x8x1_256e_kinetics400_rgb").config
    for i, rate in enumerate(rates(config, per_epoch, 0.1, 60)):
        expected = 0.05 * (1 + math.cos(math.pi * (i // per_epoch) / 256))
        if i < 34 * per_epoch:
            expected *= 1 - 0.9 * (1 - i / (34 * per_epoch))
        assert rate == pytest.approx(expected, rel=1e-12)
    assert learning_rate(config, 256 * per_epoch - 1, per_epoch, 0.1) == pytest.approx(
        0.05 * (1 + math.cos(math.pi * 255 / 256))
    )


@pytest.mark.parametrize("per_epoch", [2, 3, 3757])
def test_kinetics_1x_reaches_the_cosine_one_iteration_earlier(per_epoch: int) -> None:
    config = get_recipe("slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb").config
    for i, rate in enumerate(rates(config, per_epoch, 0.1, 40)):
        cosine = 0.05 * (1 + math.cos(math.pi * (i // per_epoch) / 256))
        expected = cosine * min(1, 0.1 + 0.9 * i / (34 * per_epoch - 1))
        assert rate == pytest.approx(expected, rel=1e-12)


def test_something_something_steps_and_warms_up_for_510_iterations() -> None:
    config = get_recipe("slowfast_r50_16x8x1_22e_sthv1_rgb").config
    per_epoch = 100
    for i, rate in enumerate(rates(config, per_epoch, 0.06, 22)):
        expected = 0.06 * (1 if i < 1400 else 0.1 if i < 1800 else 0.01)
        if i < 510:
            expected *= 1 - 0.9 * (1 - i / 510)
        assert rate == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "slowfast_r50_8x8x1_256e_kinetics400_rgb_steplr",
        "slowfast_r50_8xb8-8x8x1-steplr-256e_kinetics400-rgb",
    ],
)
def test_step_recipes_drop_at_94_154_196(name: str) -> None:
    config = get_recipe(name).config
    for epoch, factor in ((34, 1), (93, 1), (94, 0.1), (153, 0.1), (154, 0.01), (196, 0.001), (255, 0.001)):
        assert learning_rate(config, epoch * 7, 7, 0.1) == pytest.approx(0.1 * factor)


def test_persons_0x_is_a_cosine_of_iterations_times_the_warm_up() -> None:
    recipe = get_recipe("slowfast_kinetics_pretrained_r50_8x8x1_cosine_10e_ava22_rgb")
    assert recipe.initialize_from == ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p")
    config = recipe.config
    assert (config.batch_size, config.lr, config.lr_batch, config.weight_decay) == (6, 0.075, 48, 1e-5)
    for i, rate in enumerate(rates(config, 7, 0.075, 10)):
        expected = 0.0375 * (1 + math.cos(math.pi * i / 70)) * (1 - 0.9 * max(1 - i / 14, 0))
        assert rate == pytest.approx(expected, rel=1e-12)


def test_persons_1x_is_a_cosine_behind_the_warm_up() -> None:
    config = get_recipe("slowfast-acrn_kinetics400-pretrained-r50_8xb8-8x8x1-cosine-10e_ava22-rgb").config
    for i, rate in enumerate(rates(config, 5, 0.1, 10)):
        expected = 0.01 + 0.09 * i / 9 if i < 10 else 0.05 * (1 + math.cos(math.pi * (i - 10) / 40))
        assert rate == pytest.approx(expected, rel=1e-12)


def test_persons_1x_warms_up_from_epoch_to_epoch() -> None:
    config = get_recipe("slowfast_kinetics400-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb").config
    expected = [0.02, 0.065, 0.11, 0.155, *[0.2] * 6, *[0.02] * 5, *[0.002] * 5]
    assert rates(config, 3, 0.2, 20) == pytest.approx([rate for rate in expected for _ in range(3)])
    multisports = get_recipe("slowfast_kinetics400-pretrained-r50_8xb16-4x16x1-8e_multisports-rgb")
    assert multisports.config.grad_clip == 5.0 and multisports.model_spec.activation == "softmax"
    assert rates(multisports.config, 1, 1.0, 8) == pytest.approx([0.1, 0.325, 0.55, 0.775, 1, 1, 0.1, 0.01])


def test_fewer_epochs_have_the_same_course_in_less_time() -> None:
    kinetics = in_epochs(TrainConfig(), 30)
    assert (kinetics.epochs, kinetics.warmup_epochs) == (30, 34 * 30 / 256)
    assert max(rates(kinetics, 10, 0.1, 30)) == pytest.approx(0.05 * (1 + math.cos(math.pi * 4 / 30)))
    steps = in_epochs(get_recipe("slowfast_r50_8x8x1_256e_kinetics400_rgb_steplr").config, 64)
    assert steps.milestones == (24, 38, 49)  # 23.5, 38.5 and 49
    sthv1 = in_epochs(get_recipe("slowfast_r50_16x8x1_22e_sthv1_rgb").config, 11)
    assert (sthv1.milestones, sthv1.warmup_iterations, sthv1.warmup_epochs) == ((7, 9), 255, 0)
    assert in_epochs(sthv1, 1).milestones == (1,)
    config = get_recipe("slowfast_r50_8x8x1_roi/mmaction2/ava21-20e").config
    assert in_epochs(config, config.epochs) == config
    with pytest.raises(SpecError, match=r"TrainConfig\.epochs is 0"):
        in_epochs(config, 0)


def test_focal_recipes_weigh_what_is_not_right_yet() -> None:
    focal = [name for name in list_recipes() if get_recipe(name).config.focal_gamma]
    assert len(focal) == 2 and all("focal" in name for name in focal)
    assert {get_recipe(name).config.focal_alpha for name in focal} == {3.0}


def test_pyslowfast_warms_up_to_the_cosine_of_epoch_34() -> None:
    config = get_recipe("Kinetics/c2/SLOWFAST_4x16_R50").config
    end = 0.05 * (1 + math.cos(math.pi * 34 / 196))
    assert round(end, 4) == 0.0928
    for i in range(60 * 5):
        epoch = i / 5
        cosine = 0.05 * (1 + math.cos(math.pi * epoch / 196))
        expected = cosine if epoch >= 34 else 0.01 + (end - 0.01) * epoch / 34
        assert learning_rate(config, i, 5, 0.1) == pytest.approx(expected, rel=1e-12)
    assert (config.nesterov, config.norm_weight_decay, config.grad_clip) == (True, 0.0, None)


def test_pyslowfast_fine_tuning_starts_at_a_ten_thousandth() -> None:
    for name, peak in (("SSv2/SLOWFAST_16x8_R50", 0.03), ("Charades/SLOWFAST_16x8_R50", 0.0375)):
        config = get_recipe(name).config
        assert (config.sync_batch_norms, get_recipe(name).deviations) == (4, "")
        assert learning_rate(config, 0, 1000, peak) == pytest.approx(0.0001)
        assert learning_rate(config, 5000, 1000, peak) == pytest.approx(peak)


def test_linear_scaling_is_applied_and_said() -> None:
    config = get_recipe("slowfast_r101-r50_32xb8-4x16x1-256e_kinetics400-rgb").config
    plan = Plan.of(config, 240_436, 32)
    assert plan.lr == pytest.approx(0.4), "the published rate for 32 GPUs"
    assert (plan.step_clips, plan.steps_per_epoch) == (256, 939)
    assert plan.describe(config).startswith("256 epochs of 939 steps of 256 clips, learning rate 0.4")
    assert "scaled from 0.1 for 64 clips" in plan.describe(config)
    assert "scaled" not in Plan.of(config, 240_436, 8).describe(config)
    assert Plan.of(config.replace(lr_batch=None), 1000, 1).lr == 0.1


def test_a_small_dataset_makes_a_smaller_step() -> None:
    config = TrainConfig(batch_size=8, accumulate=2)
    assert Plan.of(config, 5, 1).step_clips == 4
    assert Plan.of(config, 5, 1).lr == pytest.approx(0.1 * 4 / 64)
    with pytest.raises(DataError, match="needs at least 8"):
        Plan.of(config, 5, 4)


def test_something_something_recipe_has_its_flips_start_and_crops() -> None:
    recipe = get_recipe("slowfast_r50_16x8x1_22e_sthv1_rgb")
    assert recipe.flip_pairs == ((2, 4), (30, 41), (52, 66))
    for left, right in recipe.flip_pairs:
        swapped = recipe.labels[left].replace("left", "*").replace("right", "left").replace("*", "right")
        assert swapped == recipe.labels[right]
    assert recipe.initialize_from == ("slowfast_r50_8x8x1", "mmaction2/k400-256e-320p")
    assert recipe.clip_spec.augmentation == "random-resized-crop-of-source"
    assert (recipe.validation_spec.test_crop, recipe.clip_spec.crop) == (256, 224)
    assert get_recipe("slowfast_r50_8x8x1_256e_kinetics400_rgb").validation_spec.test_crop == 224
    assert recipe.config.weight_decay == 1e-6


def test_a_config_of_two_rows_means_the_newer_one() -> None:
    assert get_recipe("slowfast_r50_4x16x1_256e_kinetics400_rgb").tag == "mmaction2/k400-256e-320p"
    with pytest.raises(UnknownNameError, match="Did you mean 'slowfast_r50_4x16x1_256e_kinetics400_rgb'"):
        get_recipe("slowfast_r50_4x16x1_256e_kinetics400_rg")


@pytest.mark.parametrize("name", ["slowfast_prebn_r50_4x16x1_256e_kinetics400_rbg", "", "slowfast_r50"])
def test_an_unknown_recipe_is_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match="no recipe"):
        get_recipe(name)


def test_multigrid_is_said_not_to_be_a_recipe() -> None:
    with pytest.raises(UnknownNameError, match="only its weights 'slowfast_r50_8x8x1/"):
        get_recipe("slowfast_multigrid_r50_8x8x1_358e_kinetics400_rgb")


def test_configs_go_to_json_and_back() -> None:
    for name in list_recipes():
        config = get_recipe(name).config
        assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "field, value",
    [
        ("epochs", 0),
        ("epochs", 2.5),
        ("batch_size", True),
        ("lr", 0),
        ("lr", float("nan")),
        ("lr_batch", 0),
        ("optimizer", "adam"),
        ("schedule", "cosin"),
        ("milestones", (5, 3)),
        ("milestones", [3]),
        ("momentum", 1.5),
        ("grad_clip", 0),
        ("precision", "fp16"),
        ("seed", -1),
        ("seed", 2**64),
        ("clips_per_epoch", 0),
        ("deterministic", 1),
    ],
)
def test_a_wrong_value_is_refused(field: str, value: object) -> None:
    with pytest.raises(SpecError, match=f"TrainConfig.{field} is .*accepted"):
        TrainConfig().replace(**{field: value})


def test_one_milestone_is_told_from_a_number() -> None:
    with pytest.raises(
        SpecError,
        match=r"milestones is 10; accepted: a tuple of epochs, such as 10,20 \(a single one: 10,\)\.",
    ):
        TrainConfig(milestones=10)  # type: ignore[arg-type]


def test_a_misspelled_field_is_refused() -> None:
    with pytest.raises(SpecError, match="Did you mean 'weight_decay'"):
        TrainConfig.from_dict({"weigth_decay": 0.1})
