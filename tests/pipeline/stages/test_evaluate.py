from functools import partial

import numpy as np
import pytest

from pipeline.config import EvaluateConfig
from pipeline.facts.quality import EvaluateFacts
from pipeline.inference.classifier import load_bundle
from pipeline.stages.evaluate import evaluate
from pipeline.tasks.classification import SINGLE_LABEL
from pipeline.texts.tables import read_split

# One worker builds `tiny_export`, which takes longer than these tests.

ARMS = ("plain", "teacher", "student")


@pytest.fixture(scope="module")
def run_evaluate(finish, tiny_data, tiny_export):
    """``run_evaluate(quantized=None, **settings)``: the finished stage."""

    def run_evaluate(quantized=None, **settings):
        config = EvaluateConfig(**{"bootstrap_samples": 100} | settings)
        build = partial(
            evaluate, tiny_data, tiny_export, quantized, config, task=SINGLE_LABEL, seed=0
        )
        return finish("evaluate", build, EvaluateFacts)

    return run_evaluate


@pytest.fixture(scope="module")
def evaluation(run_evaluate):
    return run_evaluate()


@pytest.fixture(scope="module")
def logits(evaluation):
    with np.load(evaluation.folder / "logits.npz") as file:
        return dict(file)


@pytest.mark.parametrize("arm", ARMS)
def test_metrics_are_those_of_the_written_logits(evaluation, logits, tiny_data, arm):
    labels = read_split(tiny_data.folder, "test").labels

    expected = SINGLE_LABEL.metrics(logits[arm], labels)

    assert getattr(evaluation.facts, arm).values == pytest.approx(expected)
    np.testing.assert_array_equal(logits["labels"], labels)


def test_fidelity_is_of_the_student_to_the_teacher(evaluation, logits):
    expected = SINGLE_LABEL.fidelity(logits["student"], logits["teacher"])

    assert evaluation.facts.fidelity.values == pytest.approx(expected)


def test_change_is_the_student_minus_the_teacher(evaluation):
    facts = evaluation.facts

    expected = {
        name: facts.student.values[name] - facts.teacher.values[name]
        for name in facts.student.values
    }
    assert facts.change.values == pytest.approx(expected)


def test_intervals_hold_their_values_and_grow_with_the_confidence(evaluation, run_evaluate):
    narrow, wide = run_evaluate(confidence=0.6).facts, evaluation.facts

    low, high = wide.plain.intervals["accuracy"]
    assert low <= wide.plain.values["accuracy"] <= high
    inner_low, inner_high = narrow.plain.intervals["accuracy"]
    assert inner_high - inner_low < high - low


def test_batch_size_changes_nothing(run_evaluate, logits):
    other = run_evaluate(batch_size=5)

    with np.load(other.folder / "logits.npz") as file:
        np.testing.assert_allclose(file["student"], logits["student"], atol=1e-5)


def test_student_is_the_file_that_ships_and_the_fp32_one_stands_beside_it(
    run_evaluate, tiny_quantized, tiny_data, logits
):
    judged = run_evaluate(quantized=tiny_quantized)

    texts = read_split(tiny_data.folder, "test").texts
    shipped = load_bundle(tiny_quantized.folder / "student").logits(texts)
    with np.load(judged.folder / "logits.npz") as file:
        np.testing.assert_allclose(file["student"], shipped, atol=1e-5)
        np.testing.assert_array_equal(file["student_fp32"], logits["student"])
    assert judged.facts.fidelity_fp32.values == pytest.approx(
        SINGLE_LABEL.fidelity(logits["student"], logits["teacher"])
    )


def test_without_variants_there_is_no_fp32_arm(evaluation):
    assert evaluation.facts.student_fp32 is None
    assert evaluation.facts.fidelity_fp32 is None
