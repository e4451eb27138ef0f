from dataclasses import replace

import numpy as np
import pytest

from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.question_answering import QUESTION_ANSWERING
from pipeline.training.held_out import fit_batches, store_rows

QUESTIONS = [f"was the {thing} good" for thing in ("film", "plot", "music", "scene")]
CONTEXTS = [
    f"the {word} film was long and the ending was so {word} " * 3 for word in ("fine", "bad")
]
CONTEXTS += [f"we saw {number} actors today" for number in range(8)]


@pytest.fixture(scope="module")
def batches_of(tiny_backbone, tiny_context, tmp_path_factory):
    """``batches_of(texts, task, part=0.1)``: batches of two rows."""
    tokenizer = load_tokenizer(tiny_backbone, max_length=24)

    def batches_of(texts, task, part=0.1):
        folder = tmp_path_factory.mktemp("rows")
        context = replace(tiny_context, task=task, max_length=24)
        rows = store_rows(tokenizer, texts, context, folder=folder)
        return fit_batches(tokenizer, rows, batch_size=2, part=part, seed=0)

    return batches_of


def rows_of(parted, held):
    pairs = zip(parted.numbers, parted.held_out, strict=True)
    return [row for rows, is_held in pairs if is_held == held for row in rows]


def test_every_row_is_in_one_batch_with_its_tokens(batches_of):
    parted = batches_of([(text,) for text in CONTEXTS], CLASSIFICATION, part=0.3)

    fitted, held = rows_of(parted, False), rows_of(parted, True)
    assert sorted(fitted + held) == list(range(len(CONTEXTS)))
    assert len(held) == 3
    for rows, batch in zip(parted.numbers, parted.batches, strict=True):
        ids, mask = batch["input_ids"].numpy(), batch["attention_mask"].numpy()
        for row, found, real in zip(rows, ids, mask, strict=True):
            np.testing.assert_array_equal(found[real == 1], parted.rows.examples[row]["input_ids"])


def test_questions_about_one_context_are_held_out_together(batches_of):
    texts = [(question, context) for context in CONTEXTS for question in QUESTIONS]

    parted = batches_of(texts, QUESTION_ANSWERING, part=0.2)

    fitted, held = (
        {texts[parted.rows.text_of[row]][1] for row in rows_of(parted, each)}
        for each in (False, True)
    )
    assert len(parted.rows.examples) > len(texts)  # long contexts are windows
    assert held
    assert not fitted & held
    assert {context for _, context in parted.held_out_texts} == held


@pytest.mark.parametrize("part", [0.001, 0.499])
def test_something_is_held_out_and_something_is_not(batches_of, part):
    texts = [(question, context) for context in CONTEXTS[:2] for question in QUESTIONS]

    assert sorted(set(batches_of(texts, QUESTION_ANSWERING, part=part).held_out)) == [False, True]


def test_smaller_batches_hold_the_same_rows(batches_of):
    parted = batches_of([(text,) for text in CONTEXTS], CLASSIFICATION, part=0.3)

    smaller = parted.split(1)

    assert smaller.size == 1
    assert all(rows_of(smaller, held) == rows_of(parted, held) for held in (False, True))
    assert smaller.tokens == sum(int(batch["attention_mask"].sum()) for batch in parted.batches)


def test_questions_about_a_single_context_are_parted(batches_of):
    texts = [(question, CONTEXTS[5]) for question in QUESTIONS]

    parted = batches_of(texts, QUESTION_ANSWERING, part=0.25)

    assert len(rows_of(parted, True)) == 1
