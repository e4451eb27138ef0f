import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from models.next_tokens import LANGUAGE_OBJECTIVE as OBJECTIVE
from models.token_layout import FOLLOWING, LOG_PROBABILITY, SIZE_BYTES
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import ModelConfig
from pipeline.inference.classifier import load_bundle
from pipeline.inference.token_windows import cut_windows
from pipeline.inference.tokens import load_encoder
from pipeline.tasks.causal_lm import CAUSAL_LM as TASK
from pipeline.training.encoding import compute_outputs
from pipeline.training.rows import label_rows, make_rows

SENTENCE = "the film is good \N{EM DASH} and the ending was na\u00efve "
TEXTS = [(SENTENCE * 6,), ("the film",), (SENTENCE,), ("",)]


@pytest.fixture(scope="module")
def backbone(tiny_language_model):
    return find_checkpoint(ModelConfig(model=str(tiny_language_model)))


@pytest.fixture
def encoder_of(tiny_language_model, tmp_path):
    """``encoder_of(max_length, side)``: the tokenizer, in windows."""

    def encoder_of(max_length, side="right"):
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / name).write_bytes((tiny_language_model / name).read_bytes())
        path = tmp_path / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"truncation_side": side}))
        return load_encoder(tmp_path, max_length=max_length, windows_of=1)

    return encoder_of


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [12, 16, 40, 96])
def test_every_token_but_the_first_is_predicted_once(encoder_of, max_length, side):
    encoder = encoder_of(max_length, side)
    whole = encoder_of(10_000).encode(TEXTS)

    windows = cut_windows(encoder.encodings(TEXTS), encoder.settings)

    assert all(len(window.encoding) <= max_length for window in windows)
    for number, row in enumerate(whole):
        own = [window for window in windows if window.text == number]
        predicted = [window.encoding.ids[at + 1] for window in own for at in window.places]
        if encoder.settings.overlap:
            assert predicted == (row["input_ids"][1:] if own[0].encoding.ids else [])
        else:  # the first token of each short window has none before it
            assert len(predicted) == max(0, len(row["input_ids"]) - len(own))


def test_torch_and_the_bundle_read_the_same_windows(
    backbone, tiny_language_model, write_language_bundle, tmp_path
):
    bundle = load_bundle(write_language_bundle(tmp_path / "bundle"))
    tokenizer = load_tokenizer(backbone, max_length=96)
    model = AutoModelForCausalLM.from_pretrained(tiny_language_model).eval()
    texts = [(SENTENCE * 12,), *TEXTS[1:]]

    rows = make_rows(tokenizer, texts, TASK, max_length=96)
    torch_readings = rows.read(compute_outputs(model, OBJECTIVE, tokenizer, rows.examples))
    found = bundle.readings(texts)

    assert len(rows.examples) > len(texts)
    np.testing.assert_array_equal(found[..., FOLLOWING], torch_readings[..., FOLLOWING])
    counted = np.nansum(found[..., SIZE_BYTES], axis=1)
    first = [len(t.encode()) - count for (t,), count in zip(texts, counted, strict=True)]
    assert first[:3] == [len("the")] * 3  # the first token is not predicted


def test_a_window_predicts_what_a_pass_over_its_tokens_does(backbone, tiny_language_model):
    tokenizer = load_tokenizer(backbone, max_length=40)
    model = AutoModelForCausalLM.from_pretrained(tiny_language_model).eval()
    rows = make_rows(tokenizer, TEXTS, TASK, max_length=40)

    found = rows.read(compute_outputs(model, OBJECTIVE, tokenizer, rows.examples))

    window = rows.windows[1]
    ids = torch.tensor([window.encoding.ids])
    with torch.no_grad():
        logs = model(ids).logits[0].log_softmax(-1)
    expected = [float(logs[at, window.encoding.ids[at + 1]]) for at in window.places]
    begin = len(rows.windows[0].places)
    own = found[0, begin : begin + len(expected), LOG_PROBABILITY]
    np.testing.assert_allclose(own, expected, atol=1e-4)


def test_spread_undoes_read_and_targets_fit_the_rows(backbone, tiny_language_model):
    tokenizer = load_tokenizer(backbone, max_length=40)
    model = AutoModelForCausalLM.from_pretrained(tiny_language_model).eval()
    rows = make_rows(tokenizer, TEXTS, TASK, max_length=40)
    outputs = compute_outputs(model, OBJECTIVE, tokenizer, rows.examples)

    readings = rows.read(outputs)
    again = rows.read(rows.spread(readings))
    labels = np.zeros(len(TEXTS), dtype=np.int64)
    plain = label_rows(rows, labels, TASK).examples
    packed = label_rows(rows, labels, TASK, targets=outputs).examples

    np.testing.assert_array_equal(again, readings)
    followed = compute_outputs(
        model, OBJECTIVE, tokenizer, rows.examples, teacher=rows.spread(readings)
    )
    np.testing.assert_allclose(rows.read(followed), readings, atol=1e-5)
    for one, other in zip(plain, packed, strict=True):
        targets = np.array(other["labels"])[:, FOLLOWING]
        expected = np.where(np.isnan(targets), -100, targets)
        assert one["labels"] == expected.tolist()
    tokens = sum(label != -100 for each in plain for label in each["labels"])
    assert tokens == int((readings[..., FOLLOWING] >= 0).sum())
