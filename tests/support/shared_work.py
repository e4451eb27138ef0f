"""Work for tests of several processes, which they import by name."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from support.token_examples import accuracy, make_examples
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.losses import CLASSIFICATION_OBJECTIVE
from models.processes import own_number
from models.student import set_dropout
from pipeline.checkpoints.context import ModelContext
from pipeline.config import AbsorbConfig, AdapterConfig, DistillConfig, TrainingConfig
from pipeline.errors import InputError
from pipeline.facts.data import DataFacts
from pipeline.facts.training import TeacherFacts
from pipeline.stages.absorb import AbsorbSettings, absorb
from pipeline.stages.distill import DistillSettings, distill
from pipeline.stages.finetune import FinetuneSettings, finetune
from pipeline.stages.soft_targets import SoftTargetSettings, compute_soft_targets
from pipeline.store.stage import Stage
from pipeline.training.goal import Goal, TrainingSetup
from pipeline.training.ranks import in_processes
from pipeline.training.trainer import train

STEPS = {"epochs": 2, "batch_size": 16, "precision": "fp32", "dropout": 0.0}


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Settings of a work."""

    context: ModelContext
    die_at: int | None = None
    """Batch at which the last process is killed."""
    seconds_per_batch: float = 0.0
    problem: str | None = None
    """Reason for which the last process refuses its input."""


def stage_of(name: str, folder: Path, facts: object) -> Stage:
    return Stage(
        name=name,
        folder=folder,
        digest=name,
        facts=facts,
        artifacts=(),
        seconds=0.0,
        reused=False,
    )


@in_processes
def make_student(
    data: Stage[DataFacts], head_only: Stage[TeacherFacts], settings: Shared, out: Path
) -> dict[str, object]:
    """Fine-tune, absorb, compute soft targets and distil; return each stage's facts."""
    context, facts = settings.context, {}
    folders = {name: out / name for name in ("teacher", "absorbed", "targets", "student")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    training = TrainingConfig(learning_rate=1e-2, evaluations_per_epoch=1, **STEPS)
    adapter = AdapterConfig(bottleneck_size=8)
    facts["teacher"] = finetune(
        data,
        head_only,
        FinetuneSettings(context=context, training=training, adapter=adapter),
        folders["teacher"],
    )
    teacher = stage_of("finetune", folders["teacher"], facts["teacher"])
    facts["absorbed"] = absorb(
        data,
        None,
        teacher,
        AbsorbSettings(context=context, absorb=AbsorbConfig(batch_size=8), layers=None),
        folders["absorbed"],
    )
    facts["targets"] = compute_soft_targets(
        data,
        None,
        teacher,
        SoftTargetSettings(context=context, texts=None),
        folders["targets"],
    )
    facts["student"] = distill(
        data,
        None,
        teacher,
        stage_of("soft-targets", folders["targets"], facts["targets"]),
        stage_of("absorb", folders["absorbed"], facts["absorbed"]),
        DistillSettings(
            context=context,
            distill=DistillConfig(learning_rate=1e-3, evaluations_per_epoch=1, **STEPS),
            layers=None,
        ),
        folders["student"],
    )
    return facts


@in_processes
def train_until_killed(checkpoint: Path, settings: Shared, out: Path) -> dict[str, object]:
    """Train for 12 steps, with 30 examples; return the curve's validations and the weights."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    set_dropout(model, 0.0)
    batches = 0
    is_last = own_number() == settings.context.compute.processes - 1

    def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        nonlocal batches
        batches += torch.is_grad_enabled()
        time.sleep(settings.seconds_per_batch)
        if is_last and settings.problem:
            raise InputError(settings.problem)
        if is_last and batches == settings.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return F.cross_entropy(logits, labels, reduction="none")

    outcome = train(
        TrainingSetup(
            model=model,
            tokenizer=AutoTokenizer.from_pretrained(checkpoint),
            objective=CLASSIFICATION_OBJECTIVE,
            training=make_examples(30),
            validation=make_examples(15),
        ),
        Goal(loss=loss, metrics=accuracy, best="accuracy", greater_is_better=True),
        TrainingConfig(
            epochs=3, batch_size=8, learning_rate=1e-3, evaluations_per_epoch=1, precision="fp32"
        ),
        scratch=out / "scratch",
        context=settings.context,
        title="shared",
    )
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return {"outcome": outcome, "weights": weights.numpy()}
