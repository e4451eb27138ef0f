import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pipeline.errors import InputError
from pipeline.facts.variants import Runtime
from pipeline.inference.classifier import load_bundle
from pipeline.inference.session import EXACT_SUMS, open_session
from pipeline.texts.tables import read_split

WITHOUT_TORCH = """
import sys
from pathlib import Path
from pipeline.inference.classifier import load_bundle
load_bundle(Path(sys.argv[1])).outputs([("good film",)])
print(*sorted({"torch", "transformers", "datasets"} & set(sys.modules)))
"""


@pytest.fixture
def bundle(tiny_export, tmp_path):
    """A copy of the student's bundle that a test may break."""
    return shutil.copytree(tiny_export.folder / "student", tmp_path / "student")


def torch_logits(bundle, texts):
    model = AutoModelForSequenceClassification.from_pretrained(bundle)
    tokenizer = AutoTokenizer.from_pretrained(bundle)
    columns = [list(column) for column in zip(*texts, strict=True)]
    batch = tokenizer(*columns, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**batch).logits.numpy()


@pytest.mark.parametrize("batch_size", [1, 7, 32])
def test_logits_are_those_of_torch_in_the_texts_order(tiny_export, tiny_data, batch_size):
    folder = tiny_export.folder / "student"
    texts = read_split(tiny_data.folder, "test").texts

    logits = load_bundle(folder).outputs(texts, batch_size=batch_size)

    np.testing.assert_allclose(logits, torch_logits(folder, texts), atol=1e-4)


@pytest.mark.parametrize(
    "texts",
    [
        [("good film", "the plot was fine"), ("dull", "awful story and boring plot")],
        [(" ".join(["good"] * 40),)],
        [(" ".join(["bad"] * 9), " ".join(["film"] * 30))],
        [("words unknown to it: żółć 你好",)],
    ],
    ids=["pair", "too long", "too long pair", "unknown words"],
)
def test_unusual_texts_are_encoded_as_transformers_does(tiny_export, texts):
    folder = tiny_export.folder / "student"

    logits = load_bundle(folder, threads=1).outputs(texts)

    np.testing.assert_allclose(logits, torch_logits(folder, texts), atol=1e-4)


def test_labels_are_in_class_order(tiny_export):
    assert load_bundle(tiny_export.folder / "student").labels == ("negative", "positive")


@pytest.mark.parametrize("part", ["config.json", "tokenizer.json", "onnx/model.onnx"])
def test_missing_part_is_named(bundle, part):
    (bundle / part).unlink()

    with pytest.raises(InputError, match=f"is not an exported classifier: it has no {part}"):
        load_bundle(bundle)


def test_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"it has no config\.json, tokenizer\.json"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "part", ["config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"]
)
@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff not what it was"])
def test_corrupted_part_is_refused(bundle, part, content):
    (bundle / part).write_bytes(content)

    with pytest.raises(InputError, match="Cannot load the classifier"):
        load_bundle(bundle)


def test_config_without_labels_is_refused(bundle):
    config = json.loads((bundle / "config.json").read_text())
    del config["id2label"]
    (bundle / "config.json").write_text(json.dumps(config))

    with pytest.raises(InputError, match="Cannot load the classifier"):
        load_bundle(bundle)


def test_neither_torch_nor_transformers_is_imported(tiny_export):
    command = [sys.executable, "-c", WITHOUT_TORCH, tiny_export.folder / "student"]

    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == ""


@pytest.mark.parametrize("vnni", [False, True])
def test_exact_sums_are_asked_for_where_the_processor_has_them_not(
    write_words_bundle, tmp_path, monkeypatch, vnni
):
    bundle = write_words_bundle(tmp_path / "student")
    monkeypatch.setattr("pipeline.inference.session.has_vnni", lambda: vnni)

    session = open_session(Runtime(session_config={EXACT_SUMS: "1"}), bundle)

    options = session.get_session_options()
    if vnni:
        with pytest.raises(RuntimeError, match=EXACT_SUMS):
            options.get_session_config_entry(EXACT_SUMS)
    else:
        assert options.get_session_config_entry(EXACT_SUMS) == "1"
