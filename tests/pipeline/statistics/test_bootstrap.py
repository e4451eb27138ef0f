"""Resampled contributions against the statistics computed anew over each resample."""

import pickle

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score, root_mean_squared_error

from pipeline.statistics.bootstrap import Resamples, draw
from pipeline.statistics.statistic import Statistic
from pipeline.tasks.class_metrics import CLASS_FIDELITY, CLASS_QUALITY
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.regression import NUMBER_FIDELITY, NUMBER_QUALITY, REGRESSION


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def class_quality(logits, labels):
    probabilities = softmax(logits.astype(np.float64))
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs(((predicted == labels) - confidence)[bins == each].sum()) for each in range(15)]
    return {
        "accuracy": (predicted == labels).mean(),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "calibration_error": sum(gaps) / len(labels),
    }


def class_fidelity(student, teacher):
    log_student, log_teacher = (
        np.log(softmax(each.astype(np.float64))) for each in (student, teacher)
    )
    return {
        "agreement": (student.argmax(axis=1) == teacher.argmax(axis=1)).mean(),
        "mean_kl": (np.exp(log_teacher) * (log_teacher - log_student)).sum(axis=1).mean(),
        "max_abs_logit_difference": np.abs(student - teacher).max(),
    }


def number_quality(outputs, labels):
    return {
        "pearson": stats.pearsonr(outputs[:, 0].astype(np.float64), labels).statistic,
        "spearman": stats.spearmanr(outputs[:, 0], labels).statistic,
        "rmse": root_mean_squared_error(labels, outputs[:, 0].astype(np.float64)),
    }


def number_fidelity(student, teacher):
    own, other = (each[:, 0].astype(np.float64) for each in (student, teacher))
    return {
        "teacher_correlation": stats.pearsonr(own, other).statistic,
        "teacher_rmse": root_mean_squared_error(other, own),
        "largest_gap": np.abs(own - other).max(),
    }


def outputs(texts, columns, seed):
    return np.random.default_rng(seed).normal(scale=3, size=(texts, columns)).astype(np.float32)


LABELS = np.random.default_rng(7).integers(9, size=300)  # of 12 classes: three never occur
NUMBERS = np.round(np.random.default_rng(7).normal(size=300), 1)  # with ties


@pytest.mark.parametrize(
    ("statistic", "direct", "columns", "reference"),
    [
        (CLASS_QUALITY, class_quality, 12, LABELS),
        (CLASS_FIDELITY, class_fidelity, 12, outputs(300, 12, 1)),
        (NUMBER_QUALITY, number_quality, 1, NUMBERS),
        (NUMBER_FIDELITY, number_fidelity, 1, outputs(300, 1, 1)),
    ],
    ids=["classes", "classes to a teacher", "numbers", "numbers to a teacher"],
)
def test_every_draw_is_the_statistic_of_its_resample(statistic, direct, columns, reference):
    given, samples = outputs(300, columns, 0), Resamples(texts=300, count=20, seed=3)

    found = draw(statistic, given, reference, samples)

    expected = [direct(given[rows], reference[rows]) for rows in samples]
    assert found.values == pytest.approx(direct(given, reference), rel=1e-9)
    for name, draws in found.draws.items():
        np.testing.assert_allclose(draws, [each[name] for each in expected], rtol=1e-9, atol=1e-12)


def test_resamples_are_those_of_one_large_draw():
    rows = np.array(list(Resamples(texts=37, count=50, seed=5)))

    np.testing.assert_array_equal(rows, np.random.default_rng(5).integers(37, size=(50, 37)))


def test_values_do_not_depend_on_how_many_texts_are_computed_together(monkeypatch):
    given, teacher = outputs(300, 12, 0), outputs(300, 12, 1)
    whole = CLASS_FIDELITY(given, teacher), CLASS_QUALITY(given, LABELS)

    monkeypatch.setattr("pipeline.tasks.class_metrics._BLOCK", 7)

    assert (CLASS_FIDELITY(given, teacher), CLASS_QUALITY(given, LABELS)) == whole


@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)
def test_statistics_travel_to_another_process(task):
    same = pickle.loads(pickle.dumps(task))

    assert same.metrics == task.metrics
    assert same.fidelity == task.fidelity


def test_interval_of_macro_f1_is_centred_on_its_value():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(150), 30)
    predicted = np.where(generator.random(4500) < 0.87, labels, generator.integers(150, size=4500))
    samples = Resamples(texts=4500, count=300, seed=0)

    found = draw(CLASS_QUALITY, np.eye(150)[predicted], labels, samples)

    value, draws = found.values["macro_f1"], found.draws["macro_f1"]
    low, high = found.measured(0.95).intervals["macro_f1"]
    assert draws.mean() < value - 0.3 * draws.std()  # what the percentiles alone would be off by
    assert (low + high) / 2 == pytest.approx(value, abs=0.1 * (high - low))
    assert high - low == pytest.approx(np.diff(np.percentile(draws, [2.5, 97.5]))[0])


def test_centred_intervals_stay_in_the_range_of_their_value():
    labels = np.arange(40) % 20
    predicted = np.where(np.arange(40) == 0, 1, labels)

    found = draw(
        CLASS_QUALITY, 50 * np.eye(20)[predicted], labels, Resamples(texts=40, count=200, seed=0)
    ).measured(0.95)

    assert found.intervals["macro_f1"][1] <= 1.0
    assert found.intervals["calibration_error"][0] >= 0.0


def test_intervals_of_means_are_plain_percentiles():
    samples = Resamples(texts=300, count=100, seed=0)

    found = draw(CLASS_QUALITY, outputs(300, 12, 0), LABELS, samples)

    expected = np.percentile(found.draws["accuracy"], [5, 95])
    assert found.measured(0.9).intervals["accuracy"] == tuple(expected)


def test_difference_has_the_draws_of_both():
    samples = Resamples(texts=300, count=50, seed=0)
    first, second = (
        draw(CLASS_QUALITY, outputs(300, 12, seed), LABELS, samples) for seed in (0, 1)
    )

    found = first.minus(second)

    expected = first.draws["accuracy"] - second.draws["accuracy"]
    np.testing.assert_array_equal(found.draws["accuracy"], expected)
    assert found.centred["macro_f1"] == (-1.0, 1.0)


def test_resamples_compute_no_contribution_again():
    calls = []

    def contribute(values, reference):
        calls.append(len(values))
        return {"value": values[:, 0] - reference}

    statistic = Statistic(
        contributions=contribute, summarise=lambda texts: {"mean": float(texts["value"].mean())}
    )
    draw(statistic, outputs(300, 1, 0), NUMBERS, Resamples(texts=300, count=50, seed=0))

    assert calls == [300]
