import sys

import pytest

from pipeline.chain.sweep_plan import check_sweep, even_layers, plan_students, shipped_as
from pipeline.config import DistillConfig, RunConfig
from pipeline.errors import InputError
from pipeline.facts.variants import QuantizeFacts


def config(**tables):
    needed = {
        "data": {"train": "texts.csv", "labels": ["a", "b"]},
        "teacher": {"model": "some/model"},
    }
    return RunConfig.model_validate(needed | tables)


def quantized(chosen):
    return QuantizeFacts(
        texts=1,
        confidence=0.95,
        chosen=chosen,
        file="model.onnx",
        variants=(),
        int8_products=1,
        has_vnni=True,
        fp16_bytes=1,
        fp16_difference=0.0,
    )


@pytest.mark.parametrize(
    ("depth", "count", "expected"),
    [
        (6, 6, (0, 1, 2, 3, 4, 5)),
        (6, 4, (0, 1, 3, 4)),
        (6, 3, (0, 2, 4)),
        (6, 2, (0, 3)),
        (6, 1, (0,)),
        (12, 4, (0, 3, 6, 9)),
    ],
)
def test_layers_are_evenly_spaced_from_the_first(depth, count, expected):
    assert even_layers(depth, count) == expected


def test_whole_student_is_the_runs_own_and_the_others_have_the_sweeps_distillation():
    own = config(sweep={"layers": [6, 3], "distill": {"epochs": 9}}, distill={"epochs": 1})

    whole, half = plan_students(own, 6)

    assert whole.config == own
    assert (whole.name, half.name) == ("6 layers", "3 layers")
    assert half.config.student.layers == half.layers == (0, 2, 4)
    # What the sweep's table leaves out keeps the sweep's own default.
    assert half.config.distill == DistillConfig(epochs=9, learning_rate=1e-4)
    assert half.config.finetune == own.finetune


def test_whole_student_is_there_unasked_and_larger_ones_are_left_out():
    planned = plan_students(config(sweep={"layers": [24, 2]}), 12)

    assert [student.name for student in planned] == ["12 layers", "2 layers"]


def test_layers_can_be_chosen_and_are_made_once():
    planned = plan_students(config(sweep={"layers": [3, [0, 2, 5], [0, 2, 4], [0]]}), 6)

    assert [student.name for student in planned] == [
        "6 layers",
        "3 layers",
        "layers 0, 2, 5",
        "layers 0",
    ]


@pytest.mark.parametrize("layers", [[0, 6], [2, 1], [1, 1]])
def test_layer_that_the_backbone_does_not_have_is_refused_before_anything_runs(layers):
    with pytest.raises(InputError, match=r"sweep\.layers.*0 to 5"):
        plan_students(config(sweep={"layers": [layers]}), 6)


def test_config_that_chooses_its_student_is_refused_with_every_reason():
    chosen = config(student={"layers": [0]}, quantize={"enabled": False})

    with pytest.raises(InputError, match=r"student\.layers.*quantize\.enabled"):
        plan_students(chosen, 6)


def test_trials_without_their_package_are_refused(monkeypatch):
    trials = config(sweep={"over": {"distill.epochs": [1]}, "trials": 2})
    check_sweep(trials)

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"adapter-distill\[optuna\]"):
        check_sweep(trials)
    check_sweep(config(sweep={"over": {"distill.epochs": [1]}}))


def test_setting_that_no_sweep_varies_is_refused_before_anything_runs():
    for trials in (None, 2):
        with pytest.raises(InputError, match=r"sweep\.over: data\.train_size cannot be varied"):
            check_sweep(config(sweep={"over": {"data.train_size": [1]}, "trials": trials}))


def test_run_of_the_precision_that_ships_anyway_is_not_made_anew():
    own = config()

    assert shipped_as(own, "int8", quantized("int8, less fused")) is own
    assert shipped_as(own, "fp32", quantized("fused")) is own
    assert shipped_as(own, "fp32", quantized("int8")).quantize.ship == "fp32"
