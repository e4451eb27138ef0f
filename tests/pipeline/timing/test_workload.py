import pytest

from pipeline.timing.workload import fixed_shape, own_lengths, tokenizer_limit

WORDS = ["good", "bad", "film", "plot", "actor", "scene", "ending", "music", "story", "night"]


def texts_of(*lengths):
    return [(" ".join(WORDS[number % 10] for number in range(length)),) for length in lengths]


def lengths_of(workload):
    return [len(call[0]) for call in workload.calls]


def test_fixed_shape_is_one_call_of_that_shape():
    found = fixed_shape(3, 5, vocabulary=7, seed=0)

    (call,) = found.calls
    assert [len(row) for row in call] == [5, 5, 5]
    assert all(0 < token < 7 for row in call for token in row)
    assert found.name == "batch 3, 5 tokens"


def test_same_seed_draws_the_same_tokens():
    assert fixed_shape(2, 9, vocabulary=50, seed=1) == fixed_shape(2, 9, vocabulary=50, seed=1)


def test_own_lengths_stand_for_those_of_all_texts(tiny_checkpoint):
    texts = texts_of(*range(1, 101))

    found = own_lengths(tiny_checkpoint, texts, count=4, max_length=1000, vocabulary=100)

    # The middles of the four quarters of 1 to 100 words, with the two special tokens.
    assert lengths_of(found) == [13 + 2, 38 + 2, 63 + 2, 88 + 2]
    assert found.name == "batch 1, own lengths"


def test_long_texts_are_cut(tiny_checkpoint):
    found = own_lengths(tiny_checkpoint, texts_of(90), count=1, max_length=16, vocabulary=100)

    assert lengths_of(found) == [16]


def test_fewer_texts_than_asked_for_are_all_taken(tiny_checkpoint):
    found = own_lengths(tiny_checkpoint, texts_of(1, 2), count=8, max_length=16, vocabulary=100)

    assert lengths_of(found) == [3, 4]


def test_pairs_are_one_input(tiny_checkpoint):
    pairs = [("good film", "bad plot")]

    found = own_lengths(tiny_checkpoint, pairs, count=1, max_length=16, vocabulary=100)

    assert lengths_of(found) == [2 + 2 + 3]


def test_tokens_are_folded_into_a_small_vocabulary(tiny_checkpoint):
    found = own_lengths(tiny_checkpoint, texts_of(9), count=1, max_length=16, vocabulary=3)

    assert max(found.calls[0][0]) < 3


def test_limit_is_the_tokenizers(tiny_checkpoint):
    assert tokenizer_limit(tiny_checkpoint) == pytest.approx(64)
