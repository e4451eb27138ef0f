import numpy as np
import pytest
import torch
from support.token_examples import make_examples
from support.trainings import SETTINGS, make_context, outputs_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.losses import REGRESSION_OBJECTIVE, squared_error
from models.student import set_dropout
from models.units import Units
from pipeline.config import TrainingConfig
from pipeline.training.goal import Goal, TrainingSetup
from pipeline.training.trainer import train


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
