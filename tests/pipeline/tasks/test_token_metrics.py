import math

import numpy as np
import pytest
import torch

from models.next_tokens import read_logits
from models.token_layout import FOLLOWING, LIKELIEST, LOG_PROBABILITY, SIZE_BYTES, TAIL, WORDS
from pipeline.tasks.token_metrics import (
    TOKEN_FIDELITY,
    TOKEN_QUALITY,
    commonest_token,
    mean_nats,
    read_tokens,
    words_read,
)

NOTHING = np.zeros(0)


def reading(probabilities, following, size_bytes=2):
    """Return the reading of one token, of all words but one."""
    logits = np.log(np.array([probabilities], dtype=np.float32))
    row = read_tokens(logits, np.array([following]), None)
    row[:, SIZE_BYTES] = size_bytes
    return row


def as_texts(*texts):
    """Return readings (N, T, R), padded by NaN."""
    width = max(map(len, texts))
    padded = np.full((len(texts), width, texts[0].shape[1]), np.nan, dtype=np.float32)
    for row, text in zip(padded, texts, strict=True):
        row[: len(text)] = text
    return padded


RIGHT, WRONG = reading([0.5, 0.25, 0.25], 0), reading([0.5, 0.25, 0.25], 1)
TEXTS = as_texts(np.concatenate([RIGHT, WRONG]), WRONG)


@pytest.mark.parametrize("words", [None, [[3, 7], [1, 2], [90, 4]]])
def test_numpy_reads_what_torch_reads(words):
    rng = np.random.default_rng(0)
    logits, following = 4 * rng.standard_normal((3, 100), dtype=np.float32), np.array([5, 0, 99])
    chosen = None if words is None else np.array(words)

    found = read_tokens(logits, following, chosen)

    expected = read_logits(
        torch.from_numpy(logits),
        torch.from_numpy(following),
        None if chosen is None else torch.from_numpy(chosen),
    ).numpy()
    first = WORDS + words_read(found).shape[1]
    order = [np.argsort(words_read(each), axis=1) for each in (found, expected)]
    np.testing.assert_allclose(found[:, :WORDS], expected[:, :WORDS], rtol=1e-5, atol=1e-5)
    for start in (WORDS, first):
        sides = [
            np.take_along_axis(each[:, start : start + first - WORDS], rows, axis=1)
            for each, rows in zip((found, expected), order, strict=True)
        ]
        np.testing.assert_allclose(*sides, rtol=1e-5, atol=1e-5)


def test_quality_is_the_one_computed_by_hand():
    found = TOKEN_QUALITY(TEXTS, NOTHING)

    # ln 2, ln 4 and ln 4 over three tokens and six bytes; one of three is right.
    assert found["token_accuracy"] == pytest.approx(1 / 3)
    assert found["perplexity"] == pytest.approx(math.exp(5 * math.log(2) / 3), rel=1e-6)
    assert found["perplexity_per_byte"] == pytest.approx(math.exp(5 * math.log(2) / 6), rel=1e-6)


def test_perplexity_per_byte_is_left_out_where_texts_were_not_at_hand():
    readings = TEXTS.copy()
    readings[..., SIZE_BYTES] = 0

    assert "perplexity_per_byte" not in TOKEN_QUALITY(readings, NOTHING)


def test_padding_counts_for_nothing():
    filled = TEXTS.copy()
    filled[1, 1] = -100  # as the Trainer fills up

    assert TOKEN_QUALITY(filled, NOTHING) == TOKEN_QUALITY(TEXTS, NOTHING)


def test_fidelity_is_the_one_computed_by_hand():
    teacher = as_texts(reading([0.5, 0.25, 0.25], 0))
    words = words_read(teacher)[0]
    logits = np.log(np.array([[0.25, 0.25, 0.5]], dtype=np.float32))
    student = as_texts(read_tokens(logits, np.array([0]), words))

    found = TOKEN_FIDELITY(student, teacher)

    # 1/2 ln 2 + 1/4 ln 1 + 1/4 ln 1/2, whichever word is the tail.
    assert found["mean_kl"] == pytest.approx(0.25 * math.log(2), rel=1e-5)
    assert found["token_agreement"] == 0


def test_model_is_as_close_to_itself_as_can_be():
    found = TOKEN_FIDELITY(TEXTS, TEXTS)

    assert found == {"token_agreement": 1.0, "mean_kl": 0.0, "largest_kl": 0.0}


def test_readings_of_other_words_are_refused():
    other = TEXTS.copy()
    other[..., WORDS] += 1

    with pytest.raises(ValueError, match="expected readings of the teacher's words"):
        TOKEN_FIDELITY(other, TEXTS)


def test_constant_answer_knows_how_common_each_token_is():
    found = commonest_token(NOTHING, TEXTS)

    # The tokens that follow are 0, 1 and 1.
    assert found[..., LIKELIEST][TEXTS[..., FOLLOWING] >= 0].tolist() == [1, 1, 1]
    assert np.exp(found[0, 0, LOG_PROBABILITY]) == pytest.approx(1 / 3)
    assert TOKEN_QUALITY(found, NOTHING)["token_accuracy"] == pytest.approx(2 / 3)


def test_error_of_a_text_is_its_mean_loss():
    np.testing.assert_allclose(
        mean_nats(TEXTS, NOTHING), [1.5 * math.log(2), 2 * math.log(2)], rtol=1e-6
    )


def test_tail_of_a_certain_model_is_finite():
    logits = np.array([[100.0, 0.0, -100.0]], dtype=np.float32)

    assert np.isfinite(read_tokens(logits, np.array([0]), np.array([[0, 1]]))[0, TAIL])
