"""A text's outputs do not depend on the texts beside it in a batch."""

import json
import shutil

import numpy as np
import pytest

from models.architectures.table import ARCHITECTURES
from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.checkpoints.tokenizers import load_tokenizer, save_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import ExportConfig
from pipeline.graphs.trace import Traced, write_graph
from pipeline.inference.classifier import MODEL, load_bundle
from pipeline.training.encoding import compute_outputs, encode

LABELS = ("negative", "neutral", "positive")
TEXTS = [
    ("good",),
    ("",),
    ("a bad film with a boring story and an awful ending that i saw again yesterday",),
    ("the plot was fine but [PAD] [PAD]",),
    ("lovely superb film",),
]


@pytest.fixture
def checkpoint_of(tiny_classifier, tiny_checkpoint, tmp_path):
    """``checkpoint_of(model_type, side)``: a random model, and a tokenizer that pads on a side."""

    def checkpoint_of(model_type, side, **settings):
        folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
        tiny_classifier(model_type, pad_token_id=0, **settings).save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        # MPNet numbers its positions from the padding id 1.
        pad = "[UNK]" if model_type == "mpnet" else "[PAD]"
        said = json.loads(path.read_text()) | {"padding_side": side, "pad_token": pad}
        path.write_text(json.dumps(said))
        return Checkpoint(folder=folder, digest="")

    return checkpoint_of


@pytest.mark.parametrize("side", ["left", "right"])
# transformers gives every Qwen2 model a tokenizer of its own class: this one would be refused.
@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES.keys() - {"qwen2"}))
def test_outputs_of_a_text_are_the_same_alone_and_in_a_batch(checkpoint_of, model_type, side):
    checkpoint = checkpoint_of(model_type, side)
    model = load_model(checkpoint, OBJECTIVE, labels=LABELS)
    tokenizer = load_tokenizer(checkpoint, max_length=24)
    examples = encode(tokenizer, TEXTS, max_length=24)

    together = compute_outputs(model, OBJECTIVE, tokenizer, examples)
    alone = compute_outputs(model, OBJECTIVE, tokenizer, examples, batch_size=1)

    assert np.ptp(together, axis=0).min() > 1e-3  # texts differ at all
    np.testing.assert_allclose(together, alone, atol=2e-5)


def test_outputs_of_an_exported_model_are_the_same_alone_and_in_a_batch(tiny_export):
    classifier = load_bundle(tiny_export.folder / "student", threads=1)

    together = classifier.outputs(TEXTS)

    np.testing.assert_allclose(together, classifier.outputs(TEXTS, batch_size=1), atol=1e-5)


@pytest.fixture
def exported(checkpoint_of, tmp_path):
    """``exported(model_type)``: a bundle of a random model of one layer."""

    def exported(model_type):
        checkpoint = checkpoint_of(model_type, "left", num_hidden_layers=1)
        model = load_model(checkpoint, OBJECTIVE, labels=LABELS).eval()
        traced = Traced(model=model, name="student", output_names=("logits",), max_length=24)
        bundle = tmp_path / "student"
        write_graph(traced, bundle / MODEL, ExportConfig())
        model.config.save_pretrained(bundle)
        save_tokenizer(load_tokenizer(checkpoint, max_length=24), bundle)
        return load_bundle(bundle, threads=1)

    return exported


@pytest.mark.slow  # tracing takes 10 s per model
@pytest.mark.parametrize("model_type", ["gpt2", "llama", "mistral", "qwen3"])
def test_decoders_in_onnx_answer_alike_alone_and_in_a_batch(exported, model_type):
    classifier = exported(model_type)

    together = classifier.outputs(TEXTS)

    assert np.ptp(together, axis=0).min() > 1e-3
    np.testing.assert_allclose(together, classifier.outputs(TEXTS, batch_size=1), atol=2e-5)
    if model_type != "gpt2":  # whose learned positions count from the left end
        rows = classifier.encoder.encode(TEXTS)
        width = max(len(row["input_ids"]) for row in rows)
        padded = {
            name: np.array([[0] * (width - len(row[name])) + row[name] for row in rows])
            for name in ("input_ids", "attention_mask")
        }
        np.testing.assert_allclose(classifier.run(padded), together, atol=2e-5)


def test_text_without_tokens_is_read_as_one_padding_token(checkpoint_of):
    checkpoint = checkpoint_of("gpt2", "right")
    path = checkpoint.folder / "tokenizer.json"
    said = json.loads(path.read_text()) | {"post_processor": None}
    path.write_text(json.dumps(said))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (checkpoint.folder / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = load_tokenizer(checkpoint, max_length=24)

    (example,) = encode(tokenizer, [("",)], max_length=24)

    assert example == {"input_ids": [0], "attention_mask": [1]}
