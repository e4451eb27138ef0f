"""A changed checkpoint is read rightly, or refused with one message: never silently another."""

import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.checkpoint_changes import CHANGES, change_checkpoint
from support.checkpoint_files import ANOTHER, BACKBONE, LABELS, REFUSED, SAME
from support.tiers import STANDING_FOR_ALL
from transformers import AutoConfig, AutoModelForSequenceClassification

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from models.teacher import is_head_parameter
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import ModelConfig
from pipeline.errors import InputError
from pipeline.training.encoding import compute_outputs, encode

MANY = int(os.environ.get("CHANGED_CHECKPOINTS", "1000"))
TEXTS = [("a good film",), ("the plot was really boring and the actor clumsy",), ("lovely",)]


@pytest.fixture(scope="module")
def sound(tiny_checkpoint, tiny_classifier, tmp_path_factory):
    """Sound checkpoints of four architectures, each with what its reader gives."""
    found = {}
    for model_type in STANDING_FOR_ALL:
        folder = tmp_path_factory.mktemp("sound") / model_type
        shutil.copytree(tiny_checkpoint, folder)
        tiny_classifier(model_type, pad_token_id=0).save_pretrained(folder)
        found[model_type] = (folder, read(folder))
    return found


def read(folder):
    """Return a checkpoint's token ids, model and outputs."""
    checkpoint = find_checkpoint(ModelConfig(model=str(folder)))
    tokenizer = load_tokenizer(checkpoint, max_length=16)
    model = load_model(checkpoint, OBJECTIVE, labels=LABELS, seed=0)
    examples = encode(tokenizer, TEXTS, max_length=16)
    return [e["input_ids"] for e in examples], model, outputs_of(model, tokenizer, examples)


def outputs_of(model, tokenizer, examples):
    return compute_outputs(model, OBJECTIVE, tokenizer, examples)


def strict_outputs(folder, sound_folder, examples):
    """Return what plain transformers computes with the sound weights under a changed config."""
    config = AutoConfig.from_pretrained(folder, num_labels=len(LABELS))
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.load_state_dict(load_file(sound_folder / "model.safetensors"))
    with torch.inference_mode():
        return np.concatenate(
            [model(input_ids=torch.tensor([ids])).logits.numpy() for ids in examples]
        )


def problem(folder, sound_folder, expected, changed):
    """Return what is wrong with how a changed folder was read; None if nothing is."""
    try:
        ids, model, outputs = read(folder)
    except InputError as error:
        if str(folder) not in str(error):
            return f"its message names no path: {error}"
        return None if changed.verdict in (REFUSED, ANOTHER) else f"it was refused: {error}"
    except BaseException as error:
        return f"it raised {error!r}"
    if changed.verdict == REFUSED:
        return "it was read without a word"
    if ids != expected[0]:
        return "its tokens are others"
    if any(parameter.dtype != torch.float32 for parameter in model.parameters()):
        return "not all of it is float32"
    wanted = expected[2]
    if changed.verdict == ANOTHER:
        wanted = strict_outputs(folder, sound_folder, ids)
    if changed.verdict in (SAME, ANOTHER):
        near = np.allclose(outputs, wanted, atol=0.15 if changed.name == "recast" else 1e-4)
        return None if near else f"its outputs are off by {np.abs(outputs - wanted).max():.1e}"
    assert changed.verdict == BACKBONE
    own = expected[1].state_dict()
    lost = [
        name
        for name, tensor in model.state_dict().items()
        if not is_head_parameter(model, name) and not torch.equal(tensor, own[name])
    ]
    return f"{lost} are not the file's" if lost else None


def problems(sound, tmp_path, numbers):
    """Return what is wrong with the folders of these numbers."""
    found = []
    for number in numbers:
        # Every change meets every architecture.
        model_type = STANDING_FOR_ALL[(number + number // len(CHANGES)) % len(STANDING_FOR_ALL)]
        sound_folder, expected = sound[model_type]
        folder = shutil.copytree(sound_folder, tmp_path / str(number))
        changed = change_checkpoint(folder, number)
        if wrong := problem(folder, sound_folder, expected, changed):
            found.append(f"{number}: {model_type}, {changed.name}: {wrong}")
        shutil.rmtree(folder)
    return found


def test_changed_checkpoint_is_read_rightly_or_refused(sound, tmp_path):
    assert "\n".join(problems(sound, tmp_path, range(60))) == ""


@pytest.mark.slow
def test_many_changed_checkpoints_are_read_rightly_or_refused(sound, tmp_path):
    assert "\n".join(problems(sound, tmp_path, range(60, 60 + MANY))) == ""
