import numpy as np
import pytest

from pipeline.config import EvaluateConfig
from pipeline.facts.quality import EvaluateFacts
from pipeline.inference.classifier import load_bundle
from pipeline.stages.evaluate import EvaluateSettings, evaluate
from pipeline.store.step import step
from pipeline.tasks.classification import CLASSIFICATION as TASK
from pipeline.texts.tables import read_split

ARMS = ("plain", "teacher", "student")


@pytest.fixture(scope="module")
def run_evaluate(tiny_store, tiny_data, tiny_export):
    """``run_evaluate(quantized=None, **settings)``: the finished stage."""

    def run_evaluate(quantized=None, **settings):
        config = EvaluateConfig(**{"bootstrap_samples": 100} | settings)
        return tiny_store.ensure(
            step(
                "evaluate",
                evaluate,
                tiny_data,
                tiny_export,
                quantized,
                settings=EvaluateSettings(task=TASK, evaluate=config, seed=0),
                facts=EvaluateFacts,
            )
        )

    return run_evaluate


@pytest.fixture(scope="module")
def evaluation(run_evaluate):
    return run_evaluate()


@pytest.fixture(scope="module")
def outputs(evaluation):
    with np.load(evaluation.folder / "outputs.npz") as file:
        return dict(file)


@pytest.mark.parametrize("arm", ARMS)
def test_metrics_are_those_of_the_written_outputs(evaluation, outputs, tiny_data, arm):
    labels = read_split(tiny_data.folder, "test").labels

    expected = TASK.metrics(outputs[arm], labels)

    assert getattr(evaluation.facts, arm).values == pytest.approx(expected)
    np.testing.assert_array_equal(outputs["labels"], labels)


def test_fidelity_is_of_the_student_to_the_teacher(evaluation, outputs):
    expected = TASK.fidelity(outputs["student"], outputs["teacher"])

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


def test_batch_size_changes_nothing(run_evaluate, outputs):
    other = run_evaluate(batch_size=5)

    with np.load(other.folder / "outputs.npz") as file:
        np.testing.assert_allclose(file["student"], outputs["student"], atol=1e-5)


def test_student_is_the_file_that_ships_and_the_fp32_one_stands_beside_it(
    run_evaluate, tiny_quantized, tiny_data, outputs
):
    judged = run_evaluate(quantized=tiny_quantized)

    texts = read_split(tiny_data.folder, "test").texts
    shipped = load_bundle(tiny_quantized.folder / "student").outputs(texts)
    with np.load(judged.folder / "outputs.npz") as file:
        np.testing.assert_allclose(file["student"], shipped, atol=1e-5)
        np.testing.assert_array_equal(file["student_fp32"], outputs["student"])
    assert judged.facts.fidelity_fp32.values == pytest.approx(
        TASK.fidelity(outputs["student"], outputs["teacher"])
    )


def test_without_variants_there_is_no_fp32_arm(evaluation):
    assert evaluation.facts.student_fp32 is None
    assert evaluation.facts.fidelity_fp32 is None


def test_gains_are_over_the_head_alone_and_over_one_answer_for_all(evaluation, outputs, tiny_data):
    labels = read_split(tiny_data.folder, "test").labels
    share = np.bincount(labels).max() / len(labels)
    accuracy = {arm: TASK.metrics(outputs[arm], labels)["accuracy"] for arm in ARMS}

    gains = {arm: gain.values["accuracy"] for arm, gain in evaluation.facts.gains.items()}

    assert gains["plain"] == pytest.approx(accuracy["student"] - accuracy["plain"])
    assert gains["constant"] == pytest.approx(accuracy["student"] - share)
