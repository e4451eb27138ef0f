import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import root_mean_squared_error
from support.gate_facts import evaluation_of_numbers

from pipeline.config import DataConfig, GateConfig
from pipeline.tasks.regression import (
    NUMBER_FIDELITY,
    NUMBER_QUALITY,
    REGRESSION,
    rmse_grown,
)
from pipeline.tasks.task import LabelColumn

CONFIG = GateConfig(
    max_metric_drop=0.01, min_agreement=0.95, max_rmse_growth=0.05, min_quality=None
)
DATA = DataConfig(train="scores.csv", label="score")


def column(*numbers):
    return np.array(numbers, dtype=np.float32)[:, None]


def read(*cells):
    column = LabelColumn(cells=cells, source="t.csv", place="line {}".format)
    return REGRESSION.labels.read([column], DATA)[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("step", [0.0, 0.5], ids=["without ties", "with ties"])
def test_metrics_are_those_of_scipy_and_scikit_learn(seed, step):
    generator = np.random.default_rng(seed)
    labels = generator.normal(200, 50, size=40)
    outputs = (0.5 * labels + generator.normal(0, 20, size=40)).astype(np.float32)[:, None]
    if step:
        labels, outputs = np.round(labels, -1), np.round(outputs, -1)

    found = NUMBER_QUALITY(outputs, labels)

    assert found == pytest.approx(
        {
            "pearson": stats.pearsonr(outputs[:, 0].astype(np.float64), labels).statistic,
            "spearman": stats.spearmanr(outputs[:, 0], labels).statistic,
            "rmse": root_mean_squared_error(labels, outputs[:, 0]),
        }
    )


def test_metrics_by_hand():
    # Deviations (-1, 0, 1) and (-2, 1, 1): 3 / sqrt(2 * 6). Ranks 1 2 3 and 1 2.5 2.5: deviations
    # (-1, 0, 1) and (-1, 0.5, 0.5): 1.5 / sqrt(2 * 1.5). Errors 0, 2 and 1.
    found = NUMBER_QUALITY(column(1, 2, 3), np.array([1.0, 4.0, 4.0]))

    assert found == pytest.approx(
        {
            "pearson": 3 / math.sqrt(12),
            "spearman": 1.5 / math.sqrt(3),
            "rmse": math.sqrt(5 / 3),
        }
    )


def test_perfect_numbers():
    labels = np.array([1.0, -2.0, 300.0])

    found = NUMBER_QUALITY(column(*labels), labels)

    assert found == pytest.approx({"pearson": 1.0, "spearman": 1.0, "rmse": 0.0})


def test_numbers_in_the_opposite_order():
    found = NUMBER_QUALITY(column(3, 2, 1), np.array([1.0, 2.0, 3.0]))

    assert found["pearson"] == found["spearman"] == pytest.approx(-1.0)


@pytest.mark.parametrize("constant", [0.0, 0.1, 200.3])
def test_constant_numbers_correlate_with_nothing(constant):
    labels = np.array([0.1, 0.3, 0.9])

    found = NUMBER_QUALITY(column(constant, constant, constant), labels)

    assert (found["pearson"], found["spearman"]) == (0.0, 0.0)
    expected = np.sqrt(np.square(labels - constant).mean())
    assert found["rmse"] == pytest.approx(expected, rel=1e-6)


def test_constant_labels_correlate_with_nothing():
    found = NUMBER_QUALITY(column(1, 2, 3), np.full(3, 0.1))

    assert found["pearson"] == pytest.approx(0.0, abs=1e-12)
    assert found["spearman"] == 0.0


def test_one_text_correlates_with_nothing():
    found = NUMBER_QUALITY(column(1.5), np.array([1.0]))

    assert found == {"pearson": 0.0, "spearman": 0.0, "rmse": 0.5}


def test_fidelity_by_hand():
    # Gaps 0, 2 and 1; deviations (-1, 0, 1) and (-2, 1, 1) as above.
    found = NUMBER_FIDELITY(column(1, 2, 3), column(1, 4, 4))

    assert found == pytest.approx(
        {
            "teacher_correlation": 3 / math.sqrt(12),
            "teacher_rmse": math.sqrt(5 / 3),
            "largest_gap": 2.0,
        }
    )


def test_fidelity_of_the_teacher_itself_is_perfect():
    outputs = column(1, 2, 4)

    found = NUMBER_FIDELITY(outputs, outputs)

    assert found == pytest.approx(
        {"teacher_correlation": 1.0, "teacher_rmse": 0.0, "largest_gap": 0.0}
    )


def test_errors_are_distances():
    found = REGRESSION.errors(column(1, 2, 3), np.array([1.5, 2.0, 1.0]))

    assert found.tolist() == [0.5, 0.0, 2.0]


def test_names_of_the_task_are_among_its_values():
    outputs = column(1, 2, 4)

    assert REGRESSION.main_metric in REGRESSION.metrics(outputs, np.arange(3.0))
    assert {REGRESSION.agreement, REGRESSION.distance} <= set(REGRESSION.fidelity(outputs, outputs))


def test_output_is_named_by_the_labels_column():
    assert REGRESSION.labels.names(DATA) == ("score",)


def test_labels_are_numbers():
    assert read("1", "-2.5", "1e3", "") == [1.0, -2.5, 1000.0, None]


def test_cells_that_are_no_finite_numbers_are_refused_and_named():
    with pytest.raises(ValueError, match="no finite number") as caught:
        read("1.5", "good", "nan", "", "inf", "1,5", "good")

    assert str(caught.value).startswith("the column 'score' holds '1,5', 'good', 'inf', 'nan', ")
    assert "(first: 'good' in t.csv, line 1)" in str(caught.value)
    assert "Write numbers with a decimal point, or filter the rows out" in str(caught.value)


@pytest.mark.parametrize("cell", ["1_000", "true", "1e999", "0x10", "1 000", "NaN", "1;5"])
def test_cell_that_python_or_nobody_reads_as_a_number_is_refused(cell):
    with pytest.raises(ValueError, match="no finite number"):
        read("1.5", cell)


def test_ten_wrong_cells_are_named_at_most():
    with pytest.raises(ValueError, match=r"holds 'n00', .*'n09', which"):
        read(*(f"n{number:02}" for number in range(30)))


def test_one_label_alone_teaches_nothing():
    assert REGRESSION.labels.check([2.0, 2.0], ("score",)).startswith("holds one label only (2.0).")
    assert REGRESSION.labels.check([2.0, 2.5], ("score",)) is None


def test_labels_are_drawn_by_fifths():
    groups = REGRESSION.labels.strata([float(number**3) for number in range(50)])

    assert groups == [number // 10 for number in range(50)]


def test_equal_labels_are_of_one_group():
    groups = REGRESSION.labels.strata([0.0] * 30 + [1.0] * 20)

    assert len(set(groups[:30])) == len(set(groups[30:])) == 1


def test_labels_are_counted_in_five_ranges_of_all_splits():
    splits = {"train": np.array([0.0, 1.0, 2.0, 10.0]), "test": np.array([5.0])}

    found = REGRESSION.labels.counts(splits, ("score",))

    assert found["train"] == {
        "0 to 2": 2,
        "2 to 4": 1,
        "4 to 6": 0,
        "6 to 8": 0,
        "8 to 10": 1,
    }
    assert list(found["test"].values()) == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("zero", [0.0, 1e6, -123456789.0])
def test_every_label_is_counted_however_large(zero):
    labels = zero + np.array([0.0, 1.0, 2.0, 3.0, 4.0])

    found = REGRESSION.labels.counts({"train": labels}, ("score",))

    assert list(found["train"].values()) == [1] * 5


def test_answers_are_numbers():
    assert REGRESSION.answers(column(1.5, -2), ("score",)) == [{"value": 1.5}, {"value": -2.0}]


def test_answers_fit_their_schema():
    (answer,) = REGRESSION.answers(column(1.5), ("score",))

    assert REGRESSION.answer_type(**answer).model_dump() == answer


def test_label_and_outputs_are_packed_and_unpacked():
    packed = REGRESSION.pack(np.array([1.0, 2.0]), column(0.5, 2.5))
    labels, outputs = REGRESSION.unpack(np.array(packed))

    assert labels.tolist() == [1.0, 2.0]
    assert outputs.tolist() == [[0.5], [2.5]]


def test_there_are_no_classes_and_no_warning():
    assert REGRESSION.members is None
    assert REGRESSION.warnings(evaluation_of_numbers(), CONFIG) == ()


def check(evaluation, name, config=CONFIG):
    (found,) = [each for each in REGRESSION.checks(evaluation, config) if name in each.name]
    return found


def test_equal_student_passes_every_check():
    checks = REGRESSION.checks(evaluation_of_numbers(), CONFIG)

    assert [each.passed for each in checks] == [True, True, True, True]


@pytest.mark.parametrize(("change", "passed"), [(-0.01, True), (-0.010001, False), (0.05, True)])
def test_drop_of_the_correlation_just_met_and_just_missed(change, passed):
    found = check(evaluation_of_numbers(change=change), "pearson lost")

    assert (found.passed, found.value) == (passed, pytest.approx(-change))
    assert "gate.max_metric_drop accepts a loss of 1.00" in found.reason


@pytest.mark.parametrize(("correlation", "passed"), [(0.95, True), (0.949999, False), (0, False)])
def test_correlation_with_the_teacher_just_met_and_just_missed(correlation, passed):
    found = check(evaluation_of_numbers(correlation=correlation), "teacher correlation")

    assert found.passed is passed
    assert f"correlate with the teacher's at {correlation:.2%}" in found.reason


@pytest.mark.parametrize(
    ("growth", "passed"), [(0.05 * 0.5, True), (0.050001 * 0.5, False), (-0.1, True)]
)
def test_growth_of_the_error_just_met_and_just_missed(growth, passed):
    found = check(evaluation_of_numbers(growth=growth), "RMSE")

    assert (found.passed, found.value) == (passed, pytest.approx(growth / 0.5))
    assert found.interval == pytest.approx(((growth - 0.01) / 0.5, (growth + 0.01) / 0.5))
    assert "gate.max_rmse_growth accepts 5.00% more" in found.reason


def test_teacher_without_an_error_may_not_be_worsened():
    same = rmse_grown(evaluation_of_numbers(teacher_rmse=0.0), CONFIG)
    worse = rmse_grown(evaluation_of_numbers(teacher_rmse=0.0, growth=1e-6), CONFIG)

    assert (same.passed, same.value) == (True, 0.0)
    assert (worse.passed, worse.value) == (False, math.inf)


@pytest.mark.parametrize(("least", "passed"), [(0.8, True), (0.80001, False)])
def test_least_quality_just_met_and_just_missed(least, passed):
    config = CONFIG.model_copy(update={"min_quality": least})

    found = REGRESSION.checks(evaluation_of_numbers(), config)[-1]

    assert (found.passed, found.value, found.limit) == (passed, 0.8, least)


def test_shifts_of_labels_and_answers_are_found():
    generator = np.random.default_rng(0)
    old, new = generator.normal(0, 1, size=200), generator.normal(0, 1, size=200)
    answers_old, answers_new = old[:, None], new[:, None] + 3

    label, answer = REGRESSION.shifts(old, new, answers_old, answers_new)

    assert (label.name, answer.name) == ("label", "answer of the champion")
    assert label.p_value == pytest.approx(stats.ks_2samp(old, new).pvalue)
    assert label.p_value > 0.05
    assert answer.p_value < 1e-6
    assert answer.before == pytest.approx(old.mean())
    assert answer.now == pytest.approx(new.mean() + 3)
