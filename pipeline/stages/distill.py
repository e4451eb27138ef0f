"""Stage distill: the student learns what the teacher says, and keeps it only if it helped.

The student minimises ``alpha * T² * KL(teacher || student) + (1 - alpha) * cross-entropy`` (Hinton
et al., 2015, https://arxiv.org/abs/1503.02531). Where it starts is given: from the absorbed
adapters, from the plain backbone or some of its layers, or as another model. The weights with the
lowest validation KL are kept, and the start is one of the candidates.
"""

import copy
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.architectures.table import architecture_of
from models.losses import Objective, distillation_loss
from models.student import adapter_traces, keep_layers, set_dropout, take_head
from pipeline.checkpoints.pretrained import Checkpoint, load_classifier, load_tokenizer
from pipeline.checkpoints.teachers import TEACHER_TENSORS
from pipeline.config import DistillConfig
from pipeline.errors import InputError
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.training import SoftTargetFacts, StudentFacts, TeacherFacts, TrainingOutcome
from pipeline.store.stage import Stage
from pipeline.store.store import SCRATCH
from pipeline.tasks.task import Metrics, Task
from pipeline.texts.tables import Split, read_soft_targets, read_split
from pipeline.training.encoding import Example, encode, predict_logits
from pipeline.training.trainer import train


def distill(
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    targets: Stage[SoftTargetFacts],
    absorbed: Stage[AbsorbFacts] | None,
    checkpoint: Checkpoint,
    config: DistillConfig,
    out: Path,
    *,
    task: Task,
    objective: Objective,
    layers: tuple[int, ...] | None,
    max_length: int,
    seed: int,
) -> StudentFacts:
    """Write the student to ``out`` as ``from_pretrained`` reads it, tokenizer included.

    Args:
        data: The splits.
        teacher: Its head is the student's start where it fits.
        targets: Its logits on the training and validation texts.
        absorbed: The student's start, head and choice of layers included; None starts from the
            checkpoint.
        checkpoint: The student's own pretrained model.
        layers: Layers of it to keep; None keeps all.
        max_length: Longest input, in tokens.

    Raises:
        InputError: for a layer that the backbone does not have, an unreadable model, or a loss
            that is not finite.
    """
    student = _start(teacher, absorbed, checkpoint, objective, data.facts.labels, layers, seed)
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    splits = (
        read_split(data.folder, "train").head(config.texts),
        read_split(data.folder, "validation"),
    )
    training, validation = (
        _with_targets(tokenizer, split, read_soft_targets(targets.folder, split.texts), max_length)
        for split in splits
    )
    measure = partial(_measure, task=task)
    packed = np.array([example["labels"] for example in validation])
    at_start = measure(predict_logits(student, tokenizer, validation), packed)
    start_weights = copy.deepcopy(student.state_dict())
    if config.dropout is not None:
        set_dropout(student, config.dropout)
    outcome = train(
        student,
        tokenizer,
        training=training,
        validation=validation,
        loss=partial(
            _loss, objective=objective, temperature=config.temperature, alpha=config.alpha
        ),
        metrics=measure,
        best="kl",
        greater_is_better=False,
        config=config,
        scratch=out / SCRATCH,
        seed=seed,
        title="distilling",
    )
    helped = outcome.best_metric < at_start["kl"]
    if not helped:
        student.load_state_dict(start_weights)
    if traces := adapter_traces(student):
        raise RuntimeError(f"The student carries traces of adapters: {traces}. Nothing was saved.")
    student.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return StudentFacts(
        start="absorbed" if absorbed else "pretrained",
        kept="trained" if helped else "start",
        total_parameters=student.num_parameters(),
        start_validation=at_start,
        validation=_at_best(outcome) if helped else at_start,
        outcome=outcome,
    )


def _start(
    teacher: Stage[TeacherFacts],
    absorbed: Stage[AbsorbFacts] | None,
    checkpoint: Checkpoint,
    objective: Objective,
    labels: tuple[str, ...],
    layers: tuple[int, ...] | None,
    seed: int,
) -> PreTrainedModel:
    """Return the student before any gradient step."""
    if absorbed is not None:
        checkpoint = Checkpoint(folder=absorbed.folder, digest=absorbed.digest)
        return load_classifier(checkpoint, objective, labels=labels, seed=seed)
    student = load_classifier(checkpoint, objective, labels=labels, seed=seed)
    if layers is not None:
        try:
            keep_layers(student, architecture_of(student.config.model_type), layers)
        except ValueError as error:
            raise InputError(str(error)) from error
    take_head(student, load_file(teacher.folder / TEACHER_TENSORS))
    return student


def _at_best(outcome: TrainingOutcome) -> Metrics:
    """Return what was measured on the validation split at the step whose weights were kept."""
    best = (point.validation for point in outcome.curve if point.step == outcome.best_step)
    return next(values for values in best if values is not None)


def _with_targets(
    tokenizer: PreTrainedTokenizerBase, split: Split, targets: np.ndarray, max_length: int
) -> list[Example]:
    """Return examples whose ``labels`` hold the class index and then the teacher's logits."""
    examples = encode(tokenizer, split.texts, max_length=max_length)
    return [
        {**example, "labels": [float(label), *logits.tolist()]}
        for example, label, logits in zip(examples, split.labels, targets, strict=True)
    ]


def _loss(
    logits: Tensor, packed: Tensor, *, objective: Objective, temperature: float, alpha: float
) -> Tensor:
    return distillation_loss(
        logits,
        packed[:, 1:],
        packed[:, 0].long(),
        objective=objective,
        temperature=temperature,
        alpha=alpha,
    )


def _measure(logits: np.ndarray, packed: np.ndarray, *, task: Task) -> Metrics:
    fidelity = task.fidelity(logits, packed[:, 1:])
    quality = task.metrics(logits, packed[:, 0].astype(np.int64))
    return {"kl": fidelity["mean_kl"], "agreement": fidelity["agreement"], **quality}
