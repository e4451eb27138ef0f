import math

import numpy as np
import pytest

from pipeline.tasks.answer_spans import Question
from pipeline.tasks.span_metrics import (
    ALWAYS,
    LONGEST_ANSWER,
    SPAN_FIDELITY,
    SPAN_QUALITY,
    answer_errors,
    choose_threshold,
    compare_answers,
    find_answers,
    normalise,
)

CONTEXT = "a b c d e f"


def window(begins, ends, *, none=(0.0, 0.0), threshold=0.5, first=0):
    """Return the readings of a window of one-letter words."""
    rows = [(-1, threshold, *none)]
    places = enumerate(zip(begins, ends, strict=True), start=first)
    rows += [(2 * place, 2 * place + 1, begin, end) for place, (begin, end) in places]
    return np.array(rows, dtype=np.float32)


def stack(*texts):
    width = max(map(len, texts))
    padded = np.full((len(texts), width, 4), np.nan, dtype=np.float32)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
    return padded


def questions(*answers):
    found = np.empty(len(answers), dtype=object)
    for row, answer in enumerate(answers):
        found[row] = Question(CONTEXT, (answer,) if answer else ())
    return found


def answer_to(*windows):
    (decoded,) = find_answers(stack(np.concatenate(windows)))
    return decoded.span and (decoded.span.first, decoded.span.behind)


def test_best_span_ends_where_it_begins_or_later():
    # The best beginning, "c", is behind the best end, "a".
    assert answer_to(window([1, 0, 5, 0], [5, 0, 0, 2])) == (4, 7)


def test_best_span_of_all_windows_is_the_answer():
    assert answer_to(window([2, 0], [0, 2]), window([0, 3], [0, 3], first=2)) == (6, 7)


def test_no_answer_is_that_of_the_window_where_it_is_least():
    sure, unsure = (20.0, 20.0), (-5.0, -5.0)

    assert answer_to(window([1], [1], none=sure)) is None
    assert answer_to(window([1], [1], none=sure), window([0], [0], none=unsure)) == (0, 1)


def test_threshold_says_how_much_no_answer_must_be_preferred():
    # The difference of logits is 1, of which the sigmoid is 0.73.
    assert answer_to(window([0], [0], none=(1, 0), threshold=0.74)) == (0, 1)
    assert answer_to(window([0], [0], none=(1, 0), threshold=0.73)) is None
    assert answer_to(window([0], [0], none=(99, 99), threshold=ALWAYS)) == (0, 1)


def test_no_longer_answer_is_looked_for():
    tokens = LONGEST_ANSWER + 1
    begins, ends = np.zeros(tokens), np.zeros(tokens)
    begins[0], ends[-1], ends[-2] = 9, 9, 5

    assert answer_to(window(begins, ends)) == (0, 2 * (tokens - 1) - 1)


def test_span_of_two_windows_is_one_candidate_with_the_better_score():
    (decoded,) = find_answers(stack(np.concatenate([window([1], [1]), window([2], [2])])))

    assert [(span.first, span.score) for span in decoded.spans] == [(0, 4.0)]


def test_probability_is_that_of_both_ends_in_the_window():
    # Beginning: e^ln3 of 3 + 1 + 1; end: 1 of 1 + 1 + 1.
    (decoded,) = find_answers(stack(window([math.log(3), 0], [0, 0])))

    assert decoded.spans[0].probability == pytest.approx(3 / 5 * 1 / 3)
    assert decoded.none_probability == pytest.approx(1 / 5 * 1 / 3)


def test_window_without_context_has_no_answer():
    assert answer_to(window([], [], threshold=ALWAYS)) is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("The  Cat's hat!", ["cats", "hat"]),
        ("an apple, a day", ["apple", "day"]),
        ("U.S.", ["us"]),
        ("Theatre", ["theatre"]),
        ("the", []),
    ],
)
def test_answers_are_normalised_as_squad_does(answer, words):
    assert normalise(answer) == words


@pytest.mark.parametrize(
    ("answer", "right", "exact", "f1"),
    [
        ("the cat", ["Cat!"], 1, 1),
        ("black cat", ["cat"], 0, 2 / 3),
        ("cat", ["dog", "black cat"], 0, 2 / 3),  # the best of both
        ("a cat cat", ["cat"], 0, 2 / 3),  # words count as often as they occur
        ("dog", ["cat"], 0, 0),
        ("", [], 1, 1),
        ("cat", [], 0, 0),
        ("", ["cat"], 0, 0),
        ("", ["the"], 1, 1),  # nothing is left of the right answer
    ],
)
def test_exact_match_and_f1(answer, right, exact, f1):
    assert compare_answers(answer, right) == (exact, pytest.approx(f1))


def test_quality_of_both_kinds_of_questions_apart():
    answered, unanswered = window([0, 9], [0, 9]), window([0, 0], [0, 0], none=(9, 9))
    readings = stack(answered, unanswered, answered, unanswered)

    found = SPAN_QUALITY(readings, questions("b c", "b", None, None))

    assert found == {
        "f1": pytest.approx((2 / 3 + 0 + 0 + 1) / 4),
        "exact_match": 0.25,
        "has_answer_f1": pytest.approx(1 / 3),
        "has_answer_exact_match": 0.0,
        "no_answer_accuracy": 0.5,
    }


def test_quality_of_one_kind_is_one_number_each():
    found = SPAN_QUALITY(
        stack(
            window(
                [0, 9],
                [
                    0,
                    0,
                ][:2],
            )
        ),
        questions("b"),
    )

    assert found == {"f1": 1.0, "exact_match": 1.0}


def test_errors_are_what_f1_lacks():
    readings = stack(window([0, 9, 0], [0, 0, 9]), window([0, 9, 0], [0, 9, 0]))

    errors = answer_errors(readings, questions("c", "b"))

    assert errors.tolist() == [pytest.approx(1 / 3), 0]


def test_model_agrees_with_itself():
    readings = stack(window([1, 2], [3, 4]), window([0, 0], [0, 0], none=(9, 9)))

    found = SPAN_FIDELITY(readings, readings)

    assert found == {
        "span_agreement": 1.0,
        "sure_agreement": 1.0,
        "mean_kl": 0.0,
        "max_abs_logit_difference": 0.0,
    }


def test_closeness_is_by_questions_and_by_windows():
    # Of the second window's beginning, the teacher's probabilities are 3/4 and 1/4.
    teacher = stack(
        np.concatenate([window([9], [9]), window([math.log(3)], [0], first=1)]), window([0], [9])
    )
    student = stack(
        np.concatenate([window([9], [9]), window([0], [0], first=1)]),
        window([0], [9], none=(99, 0)),
    )

    found = SPAN_FIDELITY(student, teacher)

    # There are three: in the first both are alike.
    second = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    # The third's teacher is undecided, and the student gives the first token exp(99): half of the
    # teacher's probability is of a token that the student gives exp(-99).
    third = 0.5 * 99 - math.log(2)
    assert found["span_agreement"] == 0.5
    # Sure of the first answer by p², of the second by p / 2, with p of a lead of 9.
    sure = 1 / (1 + math.exp(-9))
    assert found["sure_agreement"] == pytest.approx(sure / (sure + 0.5))
    assert found["mean_kl"] == pytest.approx((second + third) / 2 / 3, rel=1e-4)
    assert found["max_abs_logit_difference"] == 99


def preferring(*differences):
    """Return readings of "b" or no answer, by the logit by which no answer is preferred."""
    return stack(*(window([-9, 0], [-9, 0], none=(each, 0)) for each in differences))


def test_threshold_has_the_highest_f1():
    readings = preferring(-2, -1, 1, 2)

    (threshold,) = choose_threshold(readings, questions("b", "b", "b", None))

    assert 1 / (1 + math.exp(-1)) < threshold < 1 / (1 + math.exp(-2))


def test_threshold_nearest_to_one_half_is_taken():
    (threshold,) = choose_threshold(preferring(-2, 3), questions("b", None))

    assert threshold == pytest.approx((1 / (1 + math.exp(2)) + 1 / (1 + math.exp(-3))) / 2)


def test_threshold_parts_no_equal_questions():
    readings = preferring(1, 1, 1)

    (threshold,) = choose_threshold(readings, questions("b", None, None))

    assert threshold < 1 / (1 + math.exp(-1))


def test_every_question_is_answered_where_all_have_answers():
    assert choose_threshold(preferring(9, 9), questions("b", "c")).tolist() == [ALWAYS]
