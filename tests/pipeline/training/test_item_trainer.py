import numpy as np
import torch
from support.trainings import SETTINGS, load, make_context
from transformers import AutoModelForTokenClassification

from models.losses import TOKEN_OBJECTIVE
from models.student import set_dropout
from pipeline.config import TrainingConfig
from pipeline.training.goal import Goal, TrainingSetup
from pipeline.training.trainer import train


def tagged_examples(count):
    """Return examples of 3 to 10 random tokens, some of which have a label."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(count):
        ids = rng.integers(7, 50, size=rng.integers(3, 11))
        labels = np.where(rng.random(len(ids)) < 0.5, ids % 2, -100)
        labels[0] = ids[0] % 2
        inputs = {"input_ids": ids.tolist(), "attention_mask": [1] * len(ids)}
        rows.append(inputs | {"labels": labels.tolist()})
    return rows


def train_on_tokens(checkpoint, scratch, **settings):
    """Train a token classifier without dropout; return its weights and the outcome."""
    torch.manual_seed(0)
    model = AutoModelForTokenClassification.from_pretrained(checkpoint)
    set_dropout(model, 0.0)
    outcome = train(
        TrainingSetup(
            model=model,
            tokenizer=load(checkpoint)[1],
            objective=TOKEN_OBJECTIVE,
            training=tagged_examples(16),
            validation=tagged_examples(8),
        ),
        Goal(
            loss=TOKEN_OBJECTIVE.hard,
            metrics=lambda _outputs, labels: {"labelled": float((labels >= 0).sum())},
            best="labelled",
            greater_is_better=True,
            count=TOKEN_OBJECTIVE.count,
        ),
        TrainingConfig(**SETTINGS | {"epochs": 2} | settings),
        scratch=scratch,
        context=make_context(checkpoint),
        title="test",
    )
    return model.state_dict(), outcome


def test_items_of_all_accumulated_batches_weigh_alike(tiny_checkpoint, tmp_path):
    whole, outcome = train_on_tokens(tiny_checkpoint, tmp_path / "whole", batch_size=8)
    parts, _ = train_on_tokens(
        tiny_checkpoint, tmp_path / "parts", batch_size=2, gradient_accumulation=4
    )

    for name, tensor in whole.items():
        if not name.endswith("key.bias"):  # which attention does not depend on: noise moves it
            torch.testing.assert_close(parts[name], tensor, rtol=1e-2, atol=1e-3)
    labelled = sum(label >= 0 for each in tagged_examples(8) for label in each["labels"])
    assert outcome.curve[-1].validation["labelled"] == labelled
