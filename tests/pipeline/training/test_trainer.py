"""Also run as a script, ``test_trainer.py CHECKPOINT SCRATCH``, by the test that kills it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from models.losses import (
    CLASSIFICATION_OBJECTIVE,
    REGRESSION_OBJECTIVE,
    TOKEN_OBJECTIVE,
    squared_error,
)
from models.student import set_dropout
from models.units import Units
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.config import TrainingConfig
from pipeline.errors import InputError
from pipeline.facts.compute import Compute
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.training.encoding import compute_outputs
from pipeline.training.goal import Goal, TrainingSetup
from pipeline.training.trainer import train

SETTINGS = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "evaluations_per_epoch": 1,
    "precision": "fp32",
}


def make_examples(count):
    """Return examples of 3 to 10 random tokens, whose first token tells the label."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(count):
        ids = [5 + number % 2, *rng.integers(7, 50, size=rng.integers(2, 10)).tolist()]
        rows.append({"input_ids": ids, "attention_mask": [1] * len(ids), "labels": number % 2})
    return rows


def accuracy(logits, labels):
    return {"accuracy": float((logits.argmax(axis=1) == labels).mean())}


class Loss:
    """Cross-entropy that counts the training batches and can do something at one of them."""

    def __init__(self, at=None, action=lambda values: values):
        self.at, self.action, self.batches = at, action, 0

    def __call__(self, logits, labels):
        values = F.cross_entropy(logits, labels, reduction="none")
        self.batches += torch.is_grad_enabled()
        return self.action(values) if self.batches == self.at else values


def load(checkpoint):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    set_dropout(model, 0.0)
    return model, AutoTokenizer.from_pretrained(checkpoint)


def make_context(checkpoint):
    return ModelContext(
        backbone=Checkpoint(folder=Path(checkpoint), digest=""),
        task=CLASSIFICATION,
        max_length=16,
        seed=0,
        compute=Compute(),
    )


def run(checkpoint, scratch, loss, *, count=32, metrics=accuracy, **settings):
    """Train on ``count`` examples; return the model and the outcome."""
    model, tokenizer = load(checkpoint)
    outcome = train(
        TrainingSetup(
            model=model,
            tokenizer=tokenizer,
            objective=CLASSIFICATION_OBJECTIVE,
            training=make_examples(count),
            validation=make_examples(16),
        ),
        Goal(loss=loss, metrics=metrics, best="accuracy", greater_is_better=True),
        TrainingConfig(**SETTINGS | settings),
        scratch=scratch,
        context=make_context(checkpoint),
        title="test",
    )
    return model, outcome


def outputs_of(model, checkpoint, objective=CLASSIFICATION_OBJECTIVE):
    """Return what a model says of the validation examples."""
    return compute_outputs(model, objective, load(checkpoint)[1], make_examples(16))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def kill_this_process(_values):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed(tiny_checkpoint, tmp_path_factory):
    """Model and outcome of three epochs of four steps."""
    return run(tiny_checkpoint, tmp_path_factory.mktemp("undisturbed"), Loss())


@pytest.mark.slow  # test_child.py kills a training too
def test_killed_training_goes_on_from_its_last_whole_checkpoint(
    undisturbed, tiny_checkpoint, tmp_path
):
    killed = subprocess.run([sys.executable, __file__, tiny_checkpoint, tmp_path], check=False)
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


@pytest.fixture
def trained_on_numbers(tiny_checkpoint, tmp_path):
    """``trained_on_numbers(unit, zero)``: a regressor of labels ``zero`` and ``zero + unit``.

    Returns the model, the outcome, and all labels that its metrics were given.
    """

    def train_on_numbers(unit, zero):
        model = AutoModelForSequenceClassification.from_pretrained(
            tiny_checkpoint, num_labels=1, ignore_mismatched_sizes=True
        )
        set_dropout(model, 0.0)
        torch.manual_seed(0)
        torch.nn.init.normal_(model.classifier.weight, std=0.1 * unit)
        torch.nn.init.constant_(model.classifier.bias, zero)
        examples = [{**e, "labels": zero + unit * e["labels"]} for e in make_examples(32)]
        given = []

        def metrics(outputs, labels):
            given.extend(labels.tolist())
            return {"rmse": float(np.sqrt(np.square(outputs[:, 0] - labels).mean()))}

        outcome = train(
            TrainingSetup(
                model=model,
                tokenizer=AutoTokenizer.from_pretrained(tiny_checkpoint),
                objective=REGRESSION_OBJECTIVE,
                training=examples,
                validation=examples[:16],
                units=Units(mean=zero + unit / 2, std=unit / 2),
            ),
            Goal(loss=squared_error, metrics=metrics, best="rmse", greater_is_better=False),
            TrainingConfig(**SETTINGS),
            scratch=tmp_path / f"{unit} {zero}",
            context=make_context(tiny_checkpoint),
            title="numbers",
        )
        return model, outcome, given

    return train_on_numbers


def test_model_that_trains_in_standard_units_answers_in_the_labels(
    trained_on_numbers, tiny_checkpoint
):
    model, outcome, given = trained_on_numbers(50.0, 200.0)

    labels = np.array([200.0 + 50.0 * example["labels"] for example in make_examples(16)])
    outputs = outputs_of(model, tiny_checkpoint, REGRESSION_OBJECTIVE)
    assert set(given) == {200.0, 250.0}
    assert np.sqrt(np.square(outputs[:, 0] - labels).mean()) == pytest.approx(
        outcome.best_metric, rel=1e-4
    )
    assert outcome.best_metric < 25  # the error of always answering the mean


def test_unit_of_the_labels_does_not_change_a_training(trained_on_numbers):
    _, plain, _ = trained_on_numbers(1.0, 0.0)
    _, large, _ = trained_on_numbers(64.0, 0.0)

    # The loss is in standard units, the metric in the label's.
    losses = [[p.train_loss for p in o.curve if p.train_loss is not None] for o in (plain, large)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert large.best_metric == pytest.approx(64.0 * plain.best_metric, rel=1e-2)


def test_outputs_of_a_model_in_training_mode_are_refused(tiny_checkpoint):
    model, _ = load(tiny_checkpoint)
    model.train()

    with pytest.raises(ValueError, match="in eval mode"):
        outputs_of(model, tiny_checkpoint)


if __name__ == "__main__":
    # Batch 11 of 12: checkpoints 4 and 8 are whole.
    run(Path(sys.argv[1]), Path(sys.argv[2]), Loss(at=11, action=kill_this_process))


def tagged_examples(count):
    """Return examples of 3 to 10 random tokens, some of which have a label."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        ids = rng.integers(7, 50, size=rng.integers(3, 11))
        labels = np.where(rng.random(len(ids)) < 0.5, ids % 2, -100)
        labels[0] = ids[0] % 2
        inputs = {"input_ids": ids.tolist(), "attention_mask": [1] * len(ids)}
        rows.append(inputs | {"labels": labels.tolist()})
    return rows


def train_on_tokens(checkpoint, scratch, **settings):
    """Train a token classifier without dropout; return its weights and the outcome."""
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(checkpoint)
    set_dropout(model, 0.0)
    outcome = train(
        TrainingSetup(
            model=model,
            tokenizer=load(checkpoint)[1],
            objective=TOKEN_OBJECTIVE,
            training=tagged_examples(16),
            validation=tagged_examples(8),
        ),
        Goal(
            loss=TOKEN_OBJECTIVE.hard,
            metrics=lambda _outputs, labels: {"labelled": float((labels >= 0).sum())},
            best="labelled",
            greater_is_better=True,
            count=TOKEN_OBJECTIVE.count,
        ),
        TrainingConfig(**SETTINGS | {"epochs": 2} | settings),
        scratch=scratch,
        context=make_context(checkpoint),
        title="test",
    )
    return model.state_dict(), outcome


def test_items_of_all_accumulated_batches_weigh_alike(tiny_checkpoint, tmp_path):
    whole, outcome = train_on_tokens(tiny_checkpoint, tmp_path / "whole", batch_size=8)
    parts, _ = train_on_tokens(
        tiny_checkpoint, tmp_path / "parts", batch_size=2, gradient_accumulation=4
    )

    for name, tensor in whole.items():
        if not name.endswith("key.bias"):  # which attention does not depend on: noise moves it
            torch.testing.assert_close(parts[name], tensor, rtol=1e-2, atol=1e-3)
    labelled = sum(label >= 0 for each in tagged_examples(8) for label in each["labels"])
    assert outcome.curve[-1].validation["labelled"] == labelled
