import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.trainings import Loss, load, outputs_of, run, weights

from pipeline.errors import InputError


@pytest.fixture(scope="module")
def undisturbed(tiny_checkpoint, tmp_path_factory):
    """Model and outcome of three epochs of four steps."""
    return run(tiny_checkpoint, tmp_path_factory.mktemp("undisturbed"), Loss())


def test_killed_training_goes_on_from_its_last_whole_checkpoint(
    undisturbed, tiny_checkpoint, tmp_path
):
    killed = subprocess.run(
        [sys.executable, "-m", "support.trainings", tiny_checkpoint, tmp_path],
        check=False,
        env=os.environ | {"PYTHONPATH": "tests"},
    )
    left = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    loss = Loss()
    model, outcome = run(tiny_checkpoint, tmp_path, loss)

    assert killed.returncode == -signal.SIGKILL
    assert left == ["checkpoint-4", "checkpoint-8"]
    assert loss.batches == 4
    assert torch.equal(weights(model), weights(undisturbed[0]))
    assert outcome == undisturbed[1]


def test_checkpoint_without_its_marker_is_not_resumed_from(undisturbed, tiny_checkpoint, tmp_path):
    (tmp_path / "checkpoint-8").mkdir()
    (tmp_path / "checkpoint-8" / "model.safetensors").write_bytes(b"half a fi")
    loss = Loss()

    model, _ = run(tiny_checkpoint, tmp_path, loss)

    assert loss.batches == 12
    assert torch.equal(weights(model), weights(undisturbed[0]))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_naming_its_batch(tiny_checkpoint, tmp_path, value):
    with pytest.raises(InputError, match=r"not finite at batch 3 .* finite outputs"):
        run(tiny_checkpoint, tmp_path, Loss(at=3, action=lambda values: values * value))


def test_weights_that_are_not_finite_are_named_as_the_cause(tiny_checkpoint, tmp_path):
    model, tokenizer = load(tiny_checkpoint)
    torch.nn.init.constant_(model.classifier.bias, torch.nan)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")

    with pytest.raises(InputError, match=r"at batch 1 .* weights diverged"):
        run(tmp_path / "model", tmp_path / "scratch", Loss())


def test_accumulated_batches_update_like_one_large_batch(tiny_checkpoint, tmp_path):
    # AdamW divides a gradient by its own size: the smallest ones turn rounding into a difference.
    settings = {"count": 8, "epochs": 1, "warmup": 0}

    large, _ = run(tiny_checkpoint, tmp_path / "one", Loss(), batch_size=8, **settings)
    small, outcome = run(
        tiny_checkpoint, tmp_path / "two", Loss(), batch_size=2, gradient_accumulation=4, **settings
    )

    start = weights(load(tiny_checkpoint)[0])
    difference = (weights(small) - weights(large)).norm() / (weights(large) - start).norm()
    assert outcome.steps == 1
    assert difference < 1e-2


def test_best_validated_weights_are_kept(tiny_checkpoint, tmp_path):
    seen = []

    def best_second(outputs, _labels):
        seen.append(np.sort(outputs, axis=0))  # validation may be in any order
        return {"accuracy": 1.0 if len(seen) == 2 else 0.5}

    model, outcome = run(tiny_checkpoint, tmp_path, Loss(), metrics=best_second)

    outputs = np.sort(outputs_of(model, tiny_checkpoint), axis=0)
    assert (outcome.best_step, outcome.best_metric, outcome.steps) == (8, 1.0, 12)
    np.testing.assert_allclose(outputs, seen[1], atol=1e-5)
    assert not np.allclose(outputs, seen[2], atol=1e-3)


def test_training_stops_after_validations_without_improvement(tiny_checkpoint, tmp_path):
    def never_better(_logits, _labels):
        return {"accuracy": 0.5}

    _, outcome = run(tiny_checkpoint, tmp_path, Loss(), metrics=never_better, epochs=10, patience=2)

    # The first of three validations is the best; two more do not improve on it.
    assert outcome.steps == 12
    assert outcome.best_step == 4


def test_curve_holds_losses_and_validations_by_step(undisturbed):
    _, outcome = undisturbed

    assert [point.step for point in outcome.curve if point.validation] == [4, 8, 12]
    assert all(point.train_loss > 0 for point in outcome.curve if point.train_loss is not None)
    assert outcome.curve[-1].validation["accuracy"] > 0.9


def test_automatic_precision_is_one_of_the_two(tiny_checkpoint, tmp_path):
    _, outcome = run(tiny_checkpoint, tmp_path, Loss(), epochs=1, precision="auto")

    assert outcome.precision in ("fp32", "bf16")


def test_half_precision_trains(tiny_checkpoint, tmp_path):
    _, outcome = run(tiny_checkpoint, tmp_path, Loss(), epochs=1, precision="bf16")

    assert (outcome.precision, outcome.steps) == ("bf16", 4)


def test_batches_that_do_not_fit_are_halved_and_the_steps_stay_the_same(
    undisturbed, tiny_checkpoint, tmp_path, caplog
):
    def fits_three(values):
        if len(values) > 3 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return values

    model, outcome = run(
        tiny_checkpoint,
        tmp_path,
        lambda logits, labels: fits_three(F.cross_entropy(logits, labels, reduction="none")),
    )

    expected, undisturbed_outcome = undisturbed
    moved = weights(expected) - weights(load(tiny_checkpoint)[0])
    assert (weights(model) - weights(expected)).norm() / moved.norm() < 0.05
    assert outcome.steps == undisturbed_outcome.steps
    assert [record.args[1:4:2] for record in caplog.records if len(record.args) == 4] == [
        (8, 4),
        (4, 2),
    ]


def test_memory_that_runs_out_later_goes_on_from_the_last_checkpoint(
    undisturbed, tiny_checkpoint, tmp_path
):
    def run_out(_values):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    loss = Loss(at=6, action=run_out)
    model, outcome = run(tiny_checkpoint, tmp_path, loss)

    moved = weights(undisturbed[0]) - weights(load(tiny_checkpoint)[0])
    assert (weights(model) - weights(undisturbed[0])).norm() / moved.norm() < 0.05
    assert outcome.steps == 12
    assert loss.batches == 6 + 2 * 8  # the steps after the checkpoint, in two halves each


def test_outputs_of_a_model_in_training_mode_are_refused(tiny_checkpoint):
    model, _ = load(tiny_checkpoint)
    model.train()

    with pytest.raises(ValueError, match="in eval mode"):
        outputs_of(model, tiny_checkpoint)
