"""Small trainings whose loss can do something at a batch.

As a script, ``-m support.trainings CHECKPOINT SCRATCH``, it is a training that kills itself.
"""

import os
import signal
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from support.token_examples import accuracy, make_examples
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.losses import CLASSIFICATION_OBJECTIVE
from models.student import set_dropout
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.config import TrainingConfig
from pipeline.facts.compute import Compute
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.training.encoding import compute_outputs
from pipeline.training.goal import Goal, TrainingSetup
from pipeline.training.trainer import train

SETTINGS = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "evaluations_per_epoch": 1,
    "precision": "fp32",
}


class Loss:
    """Cross-entropy that counts the training batches and can do something at one of them."""

    def __init__(self, at=None, action=lambda values: values):
        self.at, self.action, self.batches = at, action, 0

    def __call__(self, logits, labels):
        values = F.cross_entropy(logits, labels, reduction="none")
        self.batches += torch.is_grad_enabled()
        return self.action(values) if self.batches == self.at else values


def load(checkpoint):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    set_dropout(model, 0.0)
    return model, AutoTokenizer.from_pretrained(checkpoint)


def make_context(checkpoint):
    return ModelContext(
        backbone=Checkpoint(folder=Path(checkpoint), digest=""),
        task=CLASSIFICATION,
        max_length=16,
        seed=0,
        compute=Compute(),
    )


def run(checkpoint, scratch, loss, *, count=32, metrics=accuracy, **settings):
    """Train on ``count`` examples; return the model and the outcome."""
    model, tokenizer = load(checkpoint)
    outcome = train(
        TrainingSetup(
            model=model,
            tokenizer=tokenizer,
            objective=CLASSIFICATION_OBJECTIVE,
            training=make_examples(count),
            validation=make_examples(16),
        ),
        Goal(loss=loss, metrics=metrics, best="accuracy", greater_is_better=True),
        TrainingConfig(**SETTINGS | settings),
        scratch=scratch,
        context=make_context(checkpoint),
        title="test",
    )
    return model, outcome


def outputs_of(model, checkpoint, objective=CLASSIFICATION_OBJECTIVE):
    """Return what a model says of the validation examples."""
    return compute_outputs(model, objective, load(checkpoint)[1], make_examples(16))


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def kill_this_process(_values):
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    # Batch 11 of 12: checkpoints 4 and 8 are whole.
    run(Path(sys.argv[1]), Path(sys.argv[2]), Loss(at=11, action=kill_this_process))
