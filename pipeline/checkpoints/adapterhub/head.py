"""Heads of AdapterHub checkpoints, set into stock transformers models, and taken of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.checkpoints.adapterhub.contents import (
    check_hub_tensors,
    read_config,
    read_tensors,
    without_strangers,
)
from pipeline.checkpoints.adapterhub.schema import HEAD_FILE, HeadFile, HeadKeys
from pipeline.errors import InputError
from pipeline.tasks.all_tasks import TASKS
from pipeline.tasks.answer_spans import SPAN_ENDS

HEAD_CONFIG = "head_config.json"
HEAD_FILES = ("model_head.safetensors", "pytorch_model_head.bin")
_HEADS = {
    "bert": ("bert.pooler.dense", "tanh", "classifier"),
    "roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "xlm-roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "distilbert": ("pre_classifier", "relu", "classifier"),
    "electra": ("classifier.dense", "gelu", "classifier.out_proj"),
    "deberta-v2": ("pooler.dense", "gelu", "classifier"),
    "albert": ("albert.pooler", "tanh", "classifier"),
}
"""Stock classifiers on the first token, by ``model_type``: dense layer, activation, dense layer."""
_STATIC = {
    "ForSequenceClassification": ("classification", "multi-label"),
    "ForTokenClassification": ("token-classification",),
    "ForQuestionAnswering": ("question-answering",),
    "LMHeadModel": ("causal-lm",),
    "ForCausalLM": ("causal-lm",),
}
"""Tasks of a stock (static) head, by the end of its model's name."""
_CLASSIFICATION = ("classification", "multilabel_classification")
_ONE_LAYER = {"tagging": "classifier", "question_answering": "qa_outputs"}
"""By ``head_type``, the dense layer that a stock model has for a head of one layer."""
_LAST = ("classifier", "score", "qa_outputs")
"""Names of the modules that stock models call their last one."""


def has_head(folder: Path) -> bool:
    """Return whether an adapter was saved with a head."""
    return (folder / HEAD_CONFIG).is_file()


def read_labels(folder: Path) -> tuple[str, ...]:
    """Return the names of a saved head's labels, in class order."""
    meta = _read_meta(folder)
    numbers = (meta.get("config") or meta).get("label2id") or {}
    if not numbers and _config(meta).get("head_type") == "question_answering":
        return SPAN_ENDS  # the library gives the two outputs of a token no names
    return tuple(sorted(numbers, key=lambda name: numbers[name]))


def tasks_of_head(folder: Path) -> tuple[str, ...]:
    """Return the tasks that a saved head answers, the likeliest first.

    A stock head does not say whether its labels exclude one another; the library's own heads do.

    Raises:
        InputError: when no task here answers with such a head, or it names no labels.
    """
    meta = _read_meta(folder)
    labels, kind = read_labels(folder), _config(meta).get("head_type")
    static = str(meta.get("model_class") or next(iter(_STATIC)))
    if kind is None:
        names = [name for end, tasks in _STATIC.items() if static.endswith(end) for name in tasks]
        kind = f"{static}'s"
    else:
        names = [task.name for task in TASKS.values() if task.hub_head == kind]
    # The library's only mark of a regression.
    found = tuple(name for name in names if (name == "regression") == (len(labels) == 1))
    if not found and labels:
        raise InputError(
            f"The head in {folder} is for {kind.replace('_', ' ')} with {len(labels)} labels. "
            f"Supported are {', '.join(TASKS)}: save the adapter with such a head."
        )
    if not labels and not any(TASKS[name].continues for name in found):
        raise InputError(
            f"{folder / HEAD_CONFIG} names no labels, and a head of one or more is expected. Add "
            "its label2id."
        )
    return found


def load_head(folder: Path, model: PreTrainedModel) -> None:
    """Set a stock model's head to the one that an adapter was saved with, in place.

    Args:
        folder: What the library's ``save_adapter`` wrote, of a static or a flexible head.
        model: A classifier of as many labels; for tagging, a token classifier; for question
            answering, a model with that head. A language model keeps its own, and a saved one must
            equal it.

    Raises:
        InputError: when the stock model's head computes something else, or tensors are missing,
            unknown or of another shape; nothing is set then.
    """
    meta = _read_meta(folder)
    tensors = read_tensors(folder, HEAD_FILES)
    names: dict[str, str] = {}
    if any(TASKS[name].continues for name in tasks_of_head(folder)):
        _check_word_head(folder, tensors, model)
        return
    if meta.get("config"):
        names = _flexible_head(folder, meta, model)
        tensors = without_strangers(folder, tensors, "head", str(meta.get("name")))
        tensors = {names.get(name, name): tensor for name, tensor in tensors.items()}
    else:
        tensors = {
            name if _has(model, name) else f"{model.base_model_prefix}.{name}": tensor
            for name, tensor in tensors.items()
        }
    own = dict(model.named_parameters())
    expected = {name: own[name] for name in (*tensors, *names.values()) if name in own}
    # A head's last layer is there whatever else a checkpoint leaves out.
    expected |= {name: p for name, p in own.items() if name.split(".")[0] in _LAST}
    check_hub_tensors(folder, tensors, expected)
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(tensors[name])


def _check_word_head(folder: Path, tensors: Mapping[str, Tensor], model: PreTrainedModel) -> None:
    """Refuse a head over the vocabulary that differs from the backbone's own."""
    words = model.get_output_embeddings()
    if words is None:
        raise InputError(
            f"The head in {folder} is a language model's, over the vocabulary, and this model has "
            "none. Import it as a causal-lm, over a backbone that continues texts."
        )
    own = cast(Tensor, words.weight)
    for name, tensor in tensors.items():
        is_bias = tensor.dim() == 1 and not tensor.any()
        if not is_bias and not (tensor.shape == own.shape and torch.equal(tensor.to(own), own)):
            raise InputError(
                f"The head in {folder} is not the backbone's own over the vocabulary: {name} "
                "differs. A language model keeps its backbone's head: save the adapter without one."
            )


def hub_head(
    model: PreTrainedModel, name: str, *, head_type: str
) -> tuple[dict[str, Any] | None, dict[str, Tensor]]:
    """Return a stock model's head as the library's own: its configuration and tensors.

    Labels are left to the caller. A head that is one layer named ``score`` has no configuration.

    Raises:
        InputError: when the library has no head that computes the same.
    """
    own = dict(model.named_parameters())
    if "score.weight" in own and "score.bias" not in own:
        return None, {"score.weight": own["score.weight"]}
    config: dict[str, Any] = {"activation_function": "tanh", "dropout_prob": None}
    config["head_type"] = head_type
    places = {1: _ONE_LAYER.get(head_type, "")}
    if head_type not in _ONE_LAYER:
        if model.config.model_type not in _HEADS:
            raise InputError(
                f"A {model.config.model_type} classifier has no counterpart among AdapterHub's "
                f"heads. Supported are {', '.join(sorted(_HEADS))}."
            )
        dense, activation, last = _HEADS[model.config.model_type]
        places = {1: dense, 4: last}
        config |= {"activation_function": activation, "bias": True, "use_pooler": False}
    tensors: dict[str, Tensor] = {
        f"heads.{name}.{number}.{tensor}": own[f"{place}.{tensor}"]
        for number, place in places.items()
        for tensor in ("weight", "bias")
    }
    return config | {"layers": len(places)}, tensors


def _read_meta(folder: Path) -> HeadFile:
    return read_config(folder / HEAD_CONFIG, HEAD_FILE)


def _config(meta: HeadFile) -> HeadKeys:
    """Return the configuration of a flexible head; empty for a stock one."""
    return meta.get("config") or {}


def _flexible_head(folder: Path, meta: HeadFile, model: PreTrainedModel) -> dict[str, str]:
    """Return where the tensors of a head of the library's own go in a stock model."""
    config, prefix = _config(meta), f"heads.{meta.get('name')}"
    kind, layers = config.get("head_type"), config.get("layers")
    dense, activation, last = _HEADS.get(model.config.model_type, ("", "", "classifier"))
    if kind in _ONE_LAYER and layers == 1:
        places = {1: _ONE_LAYER[kind]}
    elif kind not in _CLASSIFICATION:
        raise InputError(
            f"{folder}: heads of the type {kind!r} are not supported; supported are "
            f"{', '.join((*_CLASSIFICATION, *_ONE_LAYER))}."
        )
    elif layers == 1 and config.get("use_pooler") and model.config.model_type == "bert":
        places = {1: last}
    elif layers == 2 and not config.get("use_pooler") and dense:
        own = config.get("activation_function")
        if own != activation:
            raise InputError(
                f"{folder}: this head's activation is {own!r}, and a stock "
                f"{model.config.model_type} classifier's is {activation!r}. Their outputs would "
                f"differ. Save the adapter with a head whose activation is {activation!r}."
            )
        places = {1: dense, 4: last}
    else:
        raise InputError(
            f"{folder}: a head of {layers} layers (use_pooler = {config.get('use_pooler')}) has no "
            f"place in a stock {model.config.model_type} classifier."
        )
    return {
        f"{prefix}.{number}.{tensor}": f"{place}.{tensor}"
        for number, place in places.items()
        for tensor in ("weight", "bias")
    }


def _has(model: PreTrainedModel, name: str) -> bool:
    return any(name == own for own, _ in model.named_parameters())
