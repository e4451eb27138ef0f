import itertools

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pipeline.errors import InputError
from pipeline.inference.tokens import TokenSettings, in_windows, make_encoder
from pipeline.tasks.passages import (
    BEGINS,
    BEHIND,
    ENDS,
    FIRST,
    SPAN_LAYOUT,
    attach_threshold,
    windows_of,
)
from pipeline.tasks.set_metrics import DEFAULT_THRESHOLD

WORDS = [f"w{number}" for number in range(40)]
CONTEXT = " ".join(WORDS)
QUESTION = "w1 w2"


@pytest.fixture(scope="module")
def encoder():
    """An encoder of windows of 16 tokens: three special ones, a question, and context."""
    vocabulary = {word: number for number, word in enumerate(["[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[SEP]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 0), ("[SEP]", 1)],
    )
    return make_encoder(tokenizer, in_windows(TokenSettings(max_length=16, pad_id=0), 2))


def cut(encoder, *texts):
    return SPAN_LAYOUT.cut(texts, encoder.encodings(texts), of_data=True)


def word(number):
    """Return the characters of a word of the context."""
    start = CONTEXT.index(WORDS[number])
    return start, start + len(WORDS[number])


def test_every_window_holds_the_question_and_a_part_of_the_context(encoder):
    windows = cut(encoder, (QUESTION, CONTEXT))

    assert len(windows) > 2
    assert all(each.encoding.tokens[:4] == ["[CLS]", "w1", "w2", "[SEP]"] for each in windows)
    # Neighbours share a quarter of the longest window.
    parts = [{*each.encoding.offsets[4:-1]} for each in windows]
    assert [len(a & b) for a, b in itertools.pairwise(parts)] == [4] * (len(windows) - 1)


def test_context_and_first_token_count_alone(encoder):
    (window,) = cut(encoder, (QUESTION, "w5 w6"))

    assert SPAN_LAYOUT.positions(window).tolist() == [0, 4, 5]
    assert window.places[1:, 1:].tolist() == [[0, 2], [3, 5]]


def test_labels_stand_at_the_answers_ends_in_windows_that_hold_it(encoder):
    first, last = 9, 10
    label = np.array([word(first)[0], word(last)[1]])

    windows = cut(encoder, (QUESTION, CONTEXT))

    found = [SPAN_LAYOUT.labels(label, window) for window in windows]
    for window, labels in zip(windows, found, strict=True):
        words = window.encoding.tokens[4:-1]
        if {"w9", "w10"} <= {*words}:
            assert [words[i - 1] for i in np.flatnonzero(labels)] == ["w9", "w10"]
            assert labels[labels > 0].tolist() == [1, 2]
        else:
            assert labels[0] == 3
        assert labels.sum() == 3
    assert sum(labels[0] == 0 for labels in found) >= 1


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ((-1, -1), [3, 0, 0]),  # no answer
        ((0, 2), [0, 3, 0]),  # one token is both ends
        ((4, 5), [0, 0, 3]),  # a part of a token
        ((0, 5, 3, 5), [0, 1, 2]),  # the first of several answers
        ((2, 3), [3, 0, 0]),  # between two tokens
        ((3, 9), [3, 0, 0]),  # behind the window's last one
    ],
)
def test_labels_of_every_answer(encoder, label, expected):
    (window,) = cut(encoder, (QUESTION, "w5 w6"))

    assert SPAN_LAYOUT.labels(np.array(label), window).tolist() == expected


def test_readings_are_characters_and_logits_of_tokens_window_after_window(encoder):
    texts = [(QUESTION, CONTEXT), (QUESTION, "w5 w6")]
    windows = cut(encoder, *texts)
    found = [
        (n, np.stack([np.array(w.encoding.ids), -np.array(w.encoding.ids)], axis=1).astype(float))
        for n, w in enumerate(windows)
    ]

    readings = SPAN_LAYOUT.gather(windows, found[::-1], 2)

    parts = list(windows_of(readings[0]))
    assert len(parts) == len(windows) - 1
    assert readings[1, :3].tolist() == [[-1, 0.5, 0, 0], [0, 2, 7, -7], [3, 5, 8, -8]]
    assert np.isnan(readings[1, 3:]).all()
    for part in parts:
        for first, behind, begins, ends in part[1:]:
            assert begins == -ends == 2 + WORDS.index(CONTEXT[int(first) : int(behind)])


def test_threshold_stands_in_every_windows_first_row(encoder):
    windows = cut(encoder, (QUESTION, CONTEXT))
    outputs = [(n, np.zeros((16, 2))) for n in range(len(windows))]
    readings = SPAN_LAYOUT.gather(windows, outputs, 1)

    attached = attach_threshold(readings, np.array([0.25]))

    firsts = attached[0][attached[0][:, FIRST] == -1]
    assert (readings[0][readings[0][:, FIRST] == -1][:, BEHIND] == DEFAULT_THRESHOLD).all()
    assert len(firsts) == len(windows)
    assert (firsts[:, BEHIND] == 0.25).all()
    assert np.array_equal(attached[..., [BEGINS, ENDS]], readings[..., [BEGINS, ENDS]])


def test_question_of_more_than_half_a_window_is_refused(encoder):
    cut(encoder, ("w1 w2 w3 w4 w5", CONTEXT))

    with pytest.raises(InputError, match="has 6 tokens, and at most 5 fit"):
        cut(encoder, ("w1 w2 w3 w4 w5 w6", CONTEXT))
    with pytest.raises(InputError, match="has 16 or more tokens"):
        cut(encoder, ("w1 " * 400, CONTEXT))
