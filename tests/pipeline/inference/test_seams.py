"""Long texts are cut before they are read, and have the tokens of the whole text all the same."""

import dataclasses
import os
import random

import pytest
from support.random_tokenizers import CORPUS, write_random_tokenizer
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from pipeline.inference.seams import cut_at_seam, has_seams
from pipeline.inference.tokens import TokenSettings, make_encoder

MANY = int(os.environ.get("RANDOM_TOKENIZERS", "2000"))
ODD = (
    *("</s>", "[SEP]", "<pad>", "<mask>", "\t", "  ", " ", "_", "\u2581", "\u00a0", "\u200d"),
    *("e\u0301", "\ufb01x", "\u0345", "x" * 90, "1234567890" * 9, "...", "a b", "don't", "\u3000a"),
    *("``", "''", "\u037a", "\u0130", "\u03a3", "\u1100\u1161", "\U0001f468\u200d\U0001f469"),
)


def long_text(rng):
    """Return a text of some thousand characters with places that are, or look like, seams."""
    words = " ".join(CORPUS).split()
    share = rng.choice([0.0, 0.1, 0.5])
    count = rng.choice([5, 80, 300])
    chosen = [rng.choice(ODD if rng.random() < share else words) for _ in range(count)]
    return rng.choice([" ", " ", " ", "", "  ", "\n"]).join(chosen)


def check(tokenizer, rng, side, about=""):
    settings = TokenSettings(
        max_length=rng.choice([6, 9, 12]),
        pad_id=0,
        truncation_side=side,
        split_special_tokens=rng.random() < 0.3,
    )
    encoder = make_encoder(tokenizer, settings)
    texts = [(long_text(rng),) for _ in range(4)] + [(long_text(rng), long_text(rng))]

    assert encoder.encode(texts) == dataclasses.replace(encoder, cuts=False).encode(texts), about
    return encoder.cuts


def check_random(folder, number):
    chosen = write_random_tokenizer(folder / "model", number)
    rng = random.Random(number)
    if chosen.get("files") == "vocabulary":
        return False
    tokenizer = Tokenizer.from_file(str(folder / "model" / "tokenizer.json"))
    if rng.random() < 0.3:
        tokenizer.add_tokens(
            [
                AddedToken(
                    rng.choice(["film", "the day", "<x>", "a", "m\u00a0a", "good_film", "\u2581a"]),
                    lstrip=rng.random() < 0.3,
                    rstrip=rng.random() < 0.3,
                    single_word=rng.random() < 0.3,
                    normalized=rng.random() < 0.5,
                )
            ]
        )
    return check(tokenizer, rng, chosen["truncation_side"], (number, chosen))


def test_cut_texts_have_the_tokens_of_whole_ones(tmp_path):
    cut = [check_random(tmp_path / str(number), number) for number in range(8)]

    assert sum(cut) >= 4


@pytest.mark.slow
def test_cut_texts_have_the_tokens_of_whole_ones_whatever_the_tokenizer(tmp_path):
    for number in range(8, MANY):
        check_random(tmp_path / str(number), number)


def words_tokenizer(normalizer=None, pre_tokenizer=None):
    vocabulary = {word: index for index, word in enumerate(["[UNK]", *"abcdefgh", "a b"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


SPLIT = pre_tokenizers.Whitespace()


@pytest.mark.parametrize(
    ("normalizer", "pre_tokenizer", "left", "right"),
    [
        (None, SPLIT, True, True),
        (normalizers.Lowercase(), pre_tokenizers.Metaspace(), True, True),
        (normalizers.Replace(" ", "\u2581"), pre_tokenizers.Metaspace(), True, True),
        (normalizers.Strip(), SPLIT, False, True),
        (normalizers.Replace(Regex(" {2,}"), " "), SPLIT, True, True),
        (None, pre_tokenizers.Sequence([SPLIT, pre_tokenizers.Digits()]), True, True),
        # What reads across spaces, or may.
        (None, None, False, False),
        (normalizers.Replace(" ", "_"), SPLIT, False, False),
        (normalizers.Replace("a b", "c"), SPLIT, False, False),
        (normalizers.Replace(Regex("a b"), "c"), SPLIT, False, False),
        (normalizers.Prepend("x"), SPLIT, False, False),
        (normalizers.Replace("x", " "), SPLIT, False, False),
        (None, pre_tokenizers.Metaspace(split=False), False, False),
        (None, pre_tokenizers.ByteLevel(use_regex=False), False, False),
        (None, pre_tokenizers.Split(Regex("b c"), "isolated"), False, False),
        (None, pre_tokenizers.Punctuation(), False, False),
    ],
)
def test_texts_are_cut_where_every_part_of_the_tokenizer_reads_one_word(
    normalizer, pre_tokenizer, left, right
):
    tokenizer = words_tokenizer(normalizer, pre_tokenizer)

    assert (has_seams(tokenizer, "left"), has_seams(tokenizer, "right")) == (left, right)
    for side in ("left", "right"):
        check(tokenizer, random.Random(1), side)


@pytest.mark.parametrize(
    ("token", "cuts"),
    [
        (AddedToken("<x>", lstrip=True, rstrip=True), True),
        (AddedToken("film"), True),
        (AddedToken("film", rstrip=True), False),
        (AddedToken("the day"), False),
        (AddedToken("m\u00a0a"), False),
    ],
)
def test_texts_are_cut_where_no_added_token_holds_or_takes_a_space(token, cuts):
    tokenizer = words_tokenizer(normalizers.NFKC(), SPLIT)
    tokenizer.add_tokens([token])

    assert has_seams(tokenizer, "right") is cuts


def test_a_cut_keeps_the_wanted_characters_and_ends_at_a_seam():
    text = "word " * 100

    assert cut_at_seam(text, wanted=52, side="right") == "word " * 10 + "word"
    assert cut_at_seam(text, wanted=52, side="left").startswith(" word ")
    assert 52 <= len(cut_at_seam(text, wanted=52, side="left")) <= 104
    for whole in ("x" * 500, "word, " * 100, text[:100]):
        assert cut_at_seam(whole, wanted=52, side="right") == whole


def test_a_text_with_few_tokens_in_many_characters_is_read_further():
    tokenizer = words_tokenizer(None, SPLIT)
    settings = TokenSettings(max_length=9, pad_id=0)
    encoder = make_encoder(tokenizer, settings)

    (row,) = encoder.encode([("a " + "x" * 300 + " b c d e f g h a b" * 200,)])

    assert row["input_ids"] == [1, 0, 2, 3, 4, 5, 6, 7, 8]
