"""Training, inference and transformers make the same tokens of a text, whatever the tokenizer."""

import os
import random
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from support.random_tokenizers import CORPUS, write_random_tokenizer
from transformers import AlbertTokenizer, AutoTokenizer

from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.checkpoints.tokenizers import encoder_of, load_tokenizer, save_tokenizer
from pipeline.inference.classifier import Classifier
from pipeline.inference.tokens import INPUTS, load_encoder
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.training.encoding import batch_of, encode, rows_by_length

MANY = int(os.environ.get("RANDOM_TOKENIZERS", "1000"))


def random_texts(rng, count=12):
    """Return texts of 1 to 60 words, some with spelled-out special tokens and odd spaces."""
    words = " ".join(CORPUS).split()
    odd = [
        "</s>",
        "[SEP]",
        "<pad>",
        "<|endoftext|>",
        "\t",
        "  ",
        "\N{SNOWMAN}",
        "e\u0301",
        "\ufb01x",
    ]
    return [
        " ".join(rng.choices(words + odd, k=rng.choice([1, 2, 5, 20, 60]))) for _ in range(count)
    ]


def rows_of_transformers(tokenizer, texts, max_length, names):
    columns = [list(column) for column in zip(*texts, strict=True)]
    found = tokenizer(*columns, truncation=True, max_length=max_length, return_token_type_ids=True)
    rows = [{name: found[name][row] for name in names} for row in range(len(texts))]
    # A text without any token is read as one padding token here.
    one = {"input_ids": [tokenizer.pad_token_id], "attention_mask": [1], "token_type_ids": [0]}
    return [row if row["input_ids"] else {name: one[name] for name in names} for row in rows]


def check(folder, number):
    """Compare all ways to make tokens, for one random tokenizer."""
    chosen = write_random_tokenizer(folder / "model", number)
    rng = random.Random(number)
    texts = [(text,) for text in random_texts(rng)]
    if number % 2:
        texts = list(zip(random_texts(rng), random_texts(rng), strict=True))
    max_length = rng.choice([8, 17, 50])
    checkpoint = Checkpoint(folder=folder / "model", digest="")
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    names = tokenizer.model_input_names
    # What transformers makes of the folder as it was given.
    given = AutoTokenizer.from_pretrained(folder / "model")
    given.pad_token = tokenizer.pad_token
    expected = rows_of_transformers(given, texts, max_length, names)

    trained = encode(tokenizer, texts, max_length=max_length)
    save_tokenizer(tokenizer, folder / "bundle")
    shutil.copy(folder / "model" / "config.json", folder / "bundle")
    served = load_encoder(folder / "bundle")
    reread = AutoTokenizer.from_pretrained(folder / "bundle")

    assert [{n: row[n] for n in names} for row in served.encode(texts)] == trained, chosen
    assert trained == expected, chosen
    assert rows_of_transformers(reread, texts, None, names) == expected, chosen
    check_batches(tokenizer, served, reread, texts, expected)


def check_batches(tokenizer, served, reread, texts, expected):
    """Compare the padded batches of training, of a classifier and of transformers."""
    names = tokenizer.model_input_names
    session = SimpleNamespace(get_inputs=lambda: [SimpleNamespace(name=name) for name in names])
    classifier = Classifier(
        session=session, encoder=served, labels=(), task=CLASSIFICATION, mixes_rows=False
    )
    order = rows_by_length(expected)
    parts = [order[start : start + 5] for start in range(0, len(order), 5)]
    training = [(rows, batch_of(tokenizer, expected, rows)) for rows in parts]
    pairs = zip(training, classifier.batches(texts, batch_size=5), strict=True)
    for (rows, batch), (served_rows, served_batch) in pairs:
        padded = reread.pad([expected[row] for row in rows], return_tensors="np")
        np.testing.assert_array_equal(rows, served_rows)
        for name in names:
            np.testing.assert_array_equal(batch[name].numpy(), served_batch[name])
            np.testing.assert_array_equal(padded[name], served_batch[name])
    assert set(names) <= set(INPUTS)


@pytest.mark.parametrize("number", range(50))
def test_tokens_are_the_same_everywhere(tmp_path, number):
    check(tmp_path, number)


@pytest.mark.parametrize("seed", [10, 13, 22])
def test_equally_good_cuts_are_chosen_alike(tmp_path, seed):
    """Scores of these seeds change in their last place when they are read, and texts are tied."""
    rng = random.Random(seed)
    special = ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]", "\N{LOWER ONE EIGHTH BLOCK}"]
    pieces = [*special, *(letter * size for letter in "ab." for size in (1, 2, 3))]
    # Of the class itself, which is made of scores that were never read.
    tokenizer = AlbertTokenizer(vocab=[(piece, -rng.uniform(1, 10)) for piece in pieces])
    tokenizer.model_max_length, tokenizer.model_input_names = 50, list(INPUTS)
    texts = [("".join(rng.choices("ab.", k=40)),) for _ in range(50)]
    save_tokenizer(tokenizer, tmp_path)

    trained = encoder_of(tokenizer).encode(texts)

    assert load_encoder(tmp_path).encode(texts) == trained


@pytest.mark.slow
def test_tokens_of_many_tokenizers_are_the_same_everywhere(tmp_path):
    for number in range(50, MANY):
        check(tmp_path / str(number), number)
        shutil.rmtree(tmp_path / str(number))
