import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForQuestionAnswering

from pipeline.checkpoints.adapterhub.head import load_head, read_labels, tasks_of_head
from pipeline.errors import InputError


def random(*shape, seed):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def head_folder(folder: Path, tensors, **meta):
    folder.mkdir(exist_ok=True)
    (folder / "head_config.json").write_text(json.dumps({"name": "task"} | meta))
    torch.save(tensors, folder / "pytorch_model_head.bin")
    return folder


FLEXIBLE = {
    "head_type": "classification",
    "layers": 2,
    "activation_function": "tanh",
    "use_pooler": False,
    "label2id": {"maybe": 1, "no": 0, "yes": 2},
}
SPAN_HEAD = {"head_type": "question_answering", "layers": 1, "label2id": None}
"""Config of the library's own head for question answering, which names no labels."""
FLEXIBLE_TENSORS = {
    "heads.task.1.weight": random(32, 32, seed=1),
    "heads.task.1.bias": random(32, seed=2),
    "heads.task.4.weight": random(3, 32, seed=3),
    "heads.task.4.bias": random(3, seed=4),
}


@torch.no_grad()
def test_flexible_head_becomes_the_stock_one(tiny_classifier, token_batch, tmp_path):
    folder = head_folder(tmp_path / "head", FLEXIBLE_TENSORS, config=FLEXIBLE)
    model = tiny_classifier("bert")
    batch = token_batch(model, (9, 5))

    load_head(folder, model)

    first = model.bert(**batch).last_hidden_state[:, 0]
    weight, bias, last, last_bias = FLEXIBLE_TENSORS.values()
    expected = F.linear(torch.tanh(F.linear(first, weight, bias)), last, last_bias)
    torch.testing.assert_close(model(**batch).logits, expected)
    assert read_labels(folder) == ("no", "maybe", "yes")


def test_head_for_answers_becomes_the_stock_one(tiny_classifier, token_batch, tmp_path):
    weight, bias = random(2, 32, seed=1), random(2, seed=2)
    tensors = {"heads.task.1.weight": weight, "heads.task.1.bias": bias}
    folder = head_folder(tmp_path / "head", tensors, config=SPAN_HEAD)
    config = tiny_classifier("bert", num_labels=2).config
    model = AutoModelForQuestionAnswering.from_config(config).eval()
    batch = token_batch(model, (9, 5))

    load_head(folder, model)

    expected = F.linear(model.bert(**batch).last_hidden_state, weight, bias)
    torch.testing.assert_close(model(**batch).start_logits, expected[..., 0])
    torch.testing.assert_close(model(**batch).end_logits, expected[..., 1])
    assert read_labels(folder) == ("start", "end")


def test_static_head_is_loaded_by_its_stock_names(tiny_classifier, tmp_path):
    tensors = {"classifier.weight": random(3, 32, seed=1), "classifier.bias": random(3, seed=2)}
    folder = head_folder(tmp_path / "head", tensors, label2id={"b": 1, "a": 0, "c": 2})
    model = tiny_classifier("bert")

    load_head(folder, model)

    assert torch.equal(model.classifier.weight, tensors["classifier.weight"])
    assert read_labels(folder) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "relu"}, "activation is 'relu', and a stock bert"),
        (
            {"head_type": "causal_lm"},
            "is a language model's, over the vocabulary",
        ),
        ({"layers": 3}, "a head of 3 layers"),
    ],
)
def test_head_that_a_stock_model_cannot_compute_is_refused(
    tiny_classifier, tmp_path, change, message
):
    folder = head_folder(tmp_path / "head", FLEXIBLE_TENSORS, config=FLEXIBLE | change)

    with pytest.raises(InputError, match=message):
        load_head(folder, tiny_classifier("bert"))


@pytest.mark.parametrize(("left", "missing"), [(".1.", "classifier"), (".4.", "pooler")])
def test_head_without_one_of_its_layers_is_refused(tiny_classifier, tmp_path, left, missing):
    tensors = {name: t for name, t in FLEXIBLE_TENSORS.items() if left in name}
    folder = head_folder(tmp_path / "head", tensors, config=FLEXIBLE)

    with pytest.raises(InputError, match=f"missing .*{missing}"):
        load_head(folder, tiny_classifier("bert"))


@pytest.mark.parametrize(
    ("meta", "task"),
    [
        ({"config": FLEXIBLE}, ("classification",)),
        ({"config": FLEXIBLE | {"head_type": "multilabel_classification"}}, ("multi-label",)),
        ({"config": FLEXIBLE | {"label2id": {"score": 0}}}, ("regression",)),
        (
            {"config": FLEXIBLE | {"head_type": "tagging", "layers": 1}},
            ("token-classification",),
        ),
        (
            {"model_class": "BertForTokenClassification", "label2id": {"O": 0, "B-a": 1}},
            ("token-classification",),
        ),
        ({"config": SPAN_HEAD}, ("question-answering",)),
        (
            {"model_class": "BertForQuestionAnswering", "label2id": {"LABEL_0": 0, "LABEL_1": 1}},
            ("question-answering",),
        ),
        (
            {"model_class": "BertForSequenceClassification", "label2id": {"a": 0, "b": 1}},
            ("classification", "multi-label"),
        ),
    ],
)
def test_head_says_its_task(tmp_path, meta, task):
    assert tasks_of_head(head_folder(tmp_path / "head", {}, **meta)) == task


@pytest.mark.parametrize(
    ("meta", "task"),
    [
        ({"config": FLEXIBLE | {"head_type": "multiple_choice"}}, "multiple choice"),
        ({"config": FLEXIBLE | {"head_type": "multilabel_classification"}}, None),
        ({"model_class": "BertForMaskedLM", "label2id": {"a": 0, "b": 1}}, "BertForMaskedLM"),
    ],
)
def test_head_of_another_task_is_refused(tmp_path, meta, task):
    if task is None:  # one label that may apply or not is no set of labels
        meta, task = {"config": meta["config"] | {"label2id": {"a": 0}}}, "multilabel"
    folder = head_folder(tmp_path / "head", {}, **meta)

    with pytest.raises(InputError, match=f"is for {task}.*Supported are classification"):
        tasks_of_head(folder)


def test_head_without_names_of_labels_is_refused(tmp_path):
    folder = head_folder(tmp_path / "head", {}, config=FLEXIBLE | {"label2id": None})

    with pytest.raises(InputError, match=r"names no labels.*Add its label2id"):
        tasks_of_head(folder)
