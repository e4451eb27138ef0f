import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from pipeline.tasks.words import data_words, first_tokens_of, free_words, pad_rows


def spelled(text, spans):
    return [text[start:end] for start, end in spans]


def test_words_of_the_data_are_parted_by_single_spaces():
    text = "don't go\u00a0to U.S. !"

    assert spelled(text, data_words(text)) == ["don't", "go\u00a0to", "U.S.", "!"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ada lives in London.", ["Ada", "lives", "in", "London", "."]),
        ('He said: "Go!"', ["He", "said", ":", '"', "Go", "!", '"']),
        ("(New  York)\tnow", ["(", "New", "York", ")", "now"]),
        ("@ada's #tag e-mail 3.5", ["@ada's", "#tag", "e-mail", "3.5"]),
        ("...", [".", ".", "."]),
        ("", []),
        ("  ", []),
    ],
)
def test_words_of_other_texts_are_parted_from_punctuation(text, words):
    assert spelled(text, free_words(text)) == words


def test_parted_words_of_a_tokenised_text_stay_as_they_are():
    text = "Ada lives in London ."

    assert free_words(text) == data_words(text)


def test_first_token_of_a_word_is_the_first_that_ends_in_it():
    words = [(0, 5), (6, 8), (9, 12)]
    offsets = [(0, 0), (0, 3), (3, 5), (6, 8), (0, 0)]

    assert first_tokens_of(words, offsets).tolist() == [1, 3, -1]


def test_space_before_a_word_may_belong_to_its_first_token():
    # As byte-level and SentencePiece tokenizers count.
    assert first_tokens_of([(0, 2), (3, 5)], [(0, 2), (2, 4), (4, 5)]).tolist() == [0, 1]
    assert first_tokens_of([(0, 2), (3, 5)], [(0, 2), (2, 3), (3, 5)]).tolist() == [0, 2]


def test_text_without_words_has_no_first_tokens():
    assert first_tokens_of([], [(0, 0)]).tolist() == []


def test_every_word_of_a_byte_level_tokenizer_has_its_first_token():
    signs = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab=dict(zip(signs, range(256), strict=True)), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = "Ada says \u00fcber \U0001f600 yes"
    encoding = tokenizer.encode(text)

    positions = first_tokens_of(data_words(text), encoding.offsets)

    starts = [encoding.offsets[position] for position in positions]
    assert all(position >= 0 for position in positions)
    assert positions.tolist() == sorted(positions.tolist())
    for (start, end), (first, behind) in zip(data_words(text), starts, strict=True):
        assert start - 1 <= first
        assert behind <= end


def test_rows_are_padded_to_the_longest():
    found = pad_rows([np.array([1, 2]), np.array([3])], -100)

    assert found.tolist() == [[1, 2], [3, -100]]
    assert pad_rows([np.zeros((1, 2), np.float32), np.zeros((3, 2), np.float32)], np.nan).shape == (
        2,
        3,
        2,
    )
