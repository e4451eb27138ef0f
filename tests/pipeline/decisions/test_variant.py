import numpy as np
import pytest

from pipeline.config import QuantizeConfig
from pipeline.decisions.variant import judge_variant
from pipeline.statistics.bootstrap import resamples
from pipeline.tasks.classification import CLASSIFICATION as TASK

LABELS = np.array([0, 1] * 50)
RIGHT = np.eye(2, dtype=np.float32)[LABELS]


def flipped(count):
    """Return the right logits, with that many of the texts wrong."""
    logits = RIGHT.copy()
    logits[:count] = logits[:count, ::-1]
    return logits


def judge(logits, teacher=RIGHT, **settings):
    """Hold logits against the right ones of the student, and against the teacher's."""

    def quality(outputs, rows):
        accuracy = TASK.metrics(outputs[rows], LABELS[rows])["accuracy"]
        agreement = TASK.fidelity(outputs[rows], teacher[rows])["agreement"]
        return {"accuracy": accuracy, "agreement": agreement}

    def cost(rows):
        before, after = quality(RIGHT, rows), quality(logits, rows)
        return {name: before[name] - after[name] for name in before}

    return judge_variant(
        cost,
        lambda rows: TASK.fidelity(logits[rows], teacher[rows]),
        resamples(len(LABELS), 100, 0),
        QuantizeConfig(**settings),
        metric="accuracy",
        agreement="agreement",
    )


def test_the_student_itself_costs_nothing():
    quality = judge(RIGHT)

    assert quality.refused is None
    assert quality.cost.values == {"accuracy": 0, "agreement": 0}
    assert quality.cost.intervals["accuracy"] == (0, 0)
    assert quality.fidelity.values["agreement"] == 1


@pytest.mark.parametrize(("limit", "refused"), [(0.03, False), (0.029, True)])
def test_loss_of_the_metric_is_held_against_its_limit(limit, refused):
    quality = judge(flipped(3), max_metric_drop=limit, max_agreement_drop=1)

    assert (quality.refused is not None) is refused
    assert quality.cost.values["accuracy"] == pytest.approx(0.03)
    low, high = quality.cost.intervals["accuracy"]
    assert low <= 0.03 <= high


@pytest.mark.parametrize(("limit", "refused"), [(0.03, False), (0.029, True)])
def test_loss_of_agreement_is_held_against_its_limit(limit, refused):
    quality = judge(flipped(3), max_metric_drop=1, max_agreement_drop=limit)

    assert (quality.refused is not None) is refused


def test_every_reason_is_given_with_its_setting():
    refused = judge(flipped(9)).refused

    assert "9.00 points of accuracy" in refused
    assert "9.00 points of agreement with the teacher" in refused
    assert "quantize.max_metric_drop accepts 0.50" in refused
    assert "quantize.max_agreement_drop accepts 2.00" in refused


def test_a_variant_nearer_to_the_labels_than_the_student_is_accepted():
    teacher = flipped(10)

    quality = judge(teacher, teacher=teacher, max_metric_drop=0.2)

    assert quality.cost.values["agreement"] == pytest.approx(-0.1)
    assert quality.refused is None
