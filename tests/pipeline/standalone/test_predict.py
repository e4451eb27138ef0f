import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pipeline.errors import InputError
from pipeline.inference.classifier import load_bundle
from pipeline.standalone.predict import answer_texts, predict
from pipeline.texts.tables import read_split


def torch_scores(bundle, *columns):
    model = AutoModelForSequenceClassification.from_pretrained(bundle)
    batch = AutoTokenizer.from_pretrained(bundle)(*columns, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return model(**batch).logits.softmax(dim=-1).numpy()


def test_labels_are_those_of_torch(tiny_export, tiny_data):
    bundle = tiny_export.folder / "student"
    texts = [text for (text,) in read_split(tiny_data.folder, "test").texts]
    names = np.array(["negative", "positive"])

    found = [prediction["label"] for prediction in predict(bundle, texts)]

    assert found == names[torch_scores(bundle, texts).argmax(axis=1)].tolist()


def test_scores_are_the_probabilities_of_all_labels(tiny_export):
    bundle = tiny_export.folder / "student"
    expected = torch_scores(bundle, ["good film"])[0]

    (prediction,) = predict(bundle, ["good film"])

    assert list(prediction["scores"].values()) == pytest.approx(expected.tolist(), abs=1e-4)
    assert prediction["score"] == prediction["scores"][prediction["label"]]


def test_pair_is_read_as_two_texts(tiny_export):
    bundle = tiny_export.folder / "student"
    expected = torch_scores(bundle, ["good film"], ["awful plot"])[0]

    (prediction,) = predict(bundle, [("good film", "awful plot")])

    assert list(prediction["scores"].values()) == pytest.approx(expected.tolist(), abs=1e-4)


def test_texts_that_are_cut_are_named_and_logged(tiny_export, caplog):
    bundle = tiny_export.folder / "student"
    texts = ["good film", "good " * 40, "bad", "good film " * 9000]

    found = answer_texts(load_bundle(bundle), texts, name="student")
    answers = predict(bundle, texts)

    assert (found.truncated, found.answers) == ((1, 3), answers)
    said = f"2 of 4 texts are longer than the {found.max_length} tokens"
    assert found.said().startswith(said)
    assert found.said().endswith("number 2, 4")
    assert said in caplog.text
    assert answer_texts(load_bundle(bundle), ["good film"], name="student").said() is None


def test_tab_is_white_space(tiny_export):
    bundle = tiny_export.folder / "student"

    with_tab, with_space = predict(bundle, ["good film\tawful plot", "good film awful plot"])

    assert with_tab["scores"] == pytest.approx(with_space["scores"], abs=1e-6)


def test_folder_without_a_bundle_is_refused(tmp_path):
    with pytest.raises(InputError, match="not an exported classifier"):
        predict(tmp_path, ["good film"])
