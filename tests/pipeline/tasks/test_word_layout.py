import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pipeline.inference.tokens import TokenSettings, make_encoder
from pipeline.tasks.words import WORD_LAYOUT

WORDS = [f"w{number}" for number in range(40)]


@pytest.fixture
def encoder():
    """An encoder of 10 tokens, two of them special, whose windows share 4."""
    vocabulary = {word: number for number, word in enumerate(["[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[SEP]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    return make_encoder(tokenizer, TokenSettings(max_length=10, pad_id=0, overlap=4))


def outputs_of(encoder, texts):
    """Return the windows, and each word's token id and distance from its window's nearer end."""
    windows = WORD_LAYOUT.cut(texts, encoder.encodings(texts), of_data=True)
    found = []
    for number, window in enumerate(windows):
        ids = np.array(window.encoding.ids, dtype=np.float32)
        place = np.arange(len(ids), dtype=np.float32)
        found.append((number, np.stack([ids, np.minimum(place, place[::-1])], axis=1)))
    return windows, WORD_LAYOUT.gather(windows, iter(found[::-1]), len(texts))


def test_every_word_of_a_long_text_has_its_own_outputs(encoder):
    texts = [(" ".join(WORDS),), (" ".join(WORDS[:3]),)]

    windows, outputs = outputs_of(encoder, texts)

    assert len(windows) > 2
    assert outputs[0, :, 0].tolist() == list(range(2, 42))
    assert outputs[1, :3, 0].tolist() == [2, 3, 4]
    assert np.isnan(outputs[1, 3:]).all()


def test_word_in_two_windows_is_read_where_it_has_more_context(encoder):
    _, outputs = outputs_of(encoder, [(" ".join(WORDS),)])

    # Windows of eight words share four: each word is three tokens from an end in one of them.
    assert outputs[0, 8:-8, 1].min() >= 3


def test_text_that_fits_is_one_window(encoder):
    windows, outputs = outputs_of(encoder, [(" ".join(WORDS[:8]),)])

    assert len(windows) == 1
    assert outputs.shape == (1, 8, 2)


def test_text_without_words_has_no_outputs(encoder):
    _, outputs = outputs_of(encoder, [("",), ("w1",)])

    assert np.isnan(outputs[0]).all()
