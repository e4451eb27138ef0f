"""Stage absorb: a student without adapters that starts next to its teacher.

No labels and no gradients. Adapters that fold exactly into a stock model are folded
(models/absorption/exact.py). The others' effect on unlabelled texts is moved into the student's
dense layers by ridge regressions (models/absorption/regression.py).
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tqdm.auto import tqdm
from transformers import BatchEncoding, PreTrainedModel

from models.absorption import regression as absorption
from models.absorption.exact import fold, plan_fold
from models.absorption.extra_units import widen_ffn
from models.absorption.fit import Fit
from models.adapters.invertible import absorb_embeddings, has_invertible
from models.architectures.architecture import Architecture
from models.losses import Objective
from models.student import adapter_traces, add_biases, keep_layers, take_head
from pipeline.checkpoints.pretrained import (
    Checkpoint,
    find_architecture,
    load_classifier,
    load_tokenizer,
)
from pipeline.checkpoints.teachers import TEACHER_TENSORS, load_teacher, read_teacher
from pipeline.config import AbsorbConfig
from pipeline.errors import InputError
from pipeline.facts.absorption import AbsorbFacts, SiteFit
from pipeline.store.store import SCRATCH
from pipeline.tasks.task import Metrics, Task
from pipeline.texts.tables import Text
from pipeline.training.encoding import batches_by_length, encode

logger = logging.getLogger(__name__)

_FEWEST = 8
"""Of fewer texts none can be held out."""


def absorb(
    texts: Sequence[Text],
    teacher: Path,
    checkpoint: Checkpoint,
    config: AbsorbConfig,
    out: Path,
    *,
    task: Task,
    objective: Objective,
    layers: tuple[int, ...] | None,
    max_length: int,
    seed: int,
) -> AbsorbFacts:
    """Write the absorbed student to ``out``, as a stock transformers model with its tokenizer.

    Args:
        texts: Unlabelled texts or pairs.
        teacher: Folder of the finetune stage.
        checkpoint: The teacher's backbone.
        layers: Layers of it that the student keeps; None keeps all.
        max_length: Longest input, in tokens.

    Raises:
        InputError: when the teacher has no adapters, there are too few texts to hold some out, a
            layer does not exist, or the teacher's activations are not finite.
    """
    texts = texts[: config.texts]
    if len(texts) < _FEWEST:
        raise InputError(
            f"absorb needs at least {_FEWEST} texts, found {len(texts)}. Give more texts."
        )
    description = read_teacher(teacher)
    if description.adapter is None:
        raise InputError(f"The teacher in {teacher} has no adapters: there is nothing to absorb.")
    teacher_model = load_teacher(checkpoint, teacher, objective)
    architecture = find_architecture(teacher_model)
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    examples = encode(tokenizer, texts, max_length=max_length)
    size = min(config.batch_size, max(1, len(texts) // 4))
    batches = [batch for _, batch in batches_by_length(tokenizer, examples, batch_size=size)]
    held_out = _choose(len(batches), config.held_out, seed)

    plan = plan_fold(teacher_model, architecture)
    exact = layers is None and (
        plan.free if config.exact == "free" else plan.possible and config.exact == "always"
    )
    fits: list[Fit] = []
    embeddings = None
    if exact:
        student = fold(teacher_model, architecture)
    else:
        student = load_classifier(checkpoint, objective, labels=description.labels, seed=seed)
        take_head(student, load_file(teacher / TEACHER_TENSORS))
        if has_invertible(teacher_model):
            embeddings = _absorb_embeddings(teacher_model, student, length=max_length, seed=seed)
        if layers is not None:
            _keep(student, architecture, layers)
        if config.add_biases:
            add_biases(student, architecture)
        if config.extra_units:
            _widen(student, architecture, config.extra_units)
        fits = _fit(
            teacher_model,
            student,
            architecture,
            batches,
            held_out,
            kept=layers,
            extra_units=config.extra_units,
            seed=seed,
            scratch=out / SCRATCH,
        )
    if traces := adapter_traces(student):
        raise RuntimeError(f"The student carries traces of adapters: {traces}. Nothing was saved.")
    unseen = [batch for batch, chosen in zip(batches, held_out, strict=True) if chosen]
    student.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return AbsorbFacts(
        texts=len(texts),
        tokens=sum(int(batch["attention_mask"].sum()) for batch in batches),
        method="exact" if exact else "ridge",
        extra_units=plan.extra_units if exact else config.extra_units,
        why_not_exact=() if exact else plan.obstacles,
        embeddings_r2=embeddings,
        held_out=_fidelity(teacher_model, student, unseen, task),
        sites=tuple(
            SiteFit(layer=fit.layer, site=fit.site, r2=round(fit.r2, 4), ridge=fit.ridge)
            for fit in fits
        ),
    )


def _absorb_embeddings(
    teacher: PreTrainedModel, student: PreTrainedModel, *, length: int, seed: int
) -> float:
    try:
        r2 = absorb_embeddings(teacher.base_model, student.base_model, length=length, seed=seed)
    except ValueError as error:
        raise InputError(f"absorb: {error}.") from error
    logger.info("absorb: the embeddings took over %.3f of the invertible adapter", r2)
    return round(r2, 4)


def _keep(student: PreTrainedModel, architecture: Architecture, layers: tuple[int, ...]) -> None:
    try:
        keep_layers(student, architecture, layers)
    except ValueError as error:
        raise InputError(str(error)) from error


def _widen(student: PreTrainedModel, architecture: Architecture, units: int) -> None:
    try:
        widen_ffn(student, architecture, units)
    except ValueError as error:
        raise InputError(f"absorb.extra_units: {error}. Set it to 0.") from error


def _fit(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    architecture: Architecture,
    batches: Sequence[BatchEncoding],
    held_out: Sequence[bool],
    *,
    kept: tuple[int, ...] | None,
    extra_units: int,
    seed: int,
    scratch: Path,
) -> list[Fit]:
    """Absorb by regression, in place."""
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    inputs = architecture.ffn_size(student.base_model)
    if tokens < 2 * inputs:
        logger.warning(
            "absorb: %d tokens for regressions on %d inputs are few; more texts bring the student "
            "closer to its teacher",
            tokens,
            inputs,
        )
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    total = len(architecture.layers(student.base_model))
    with tqdm(total=total, desc="absorbing", unit="layer", leave=False, disable=None) as bar:
        try:
            return absorption.absorb(
                teacher,
                student,
                architecture,
                batches,
                held_out=held_out,
                scratch=scratch,
                kept=kept,
                extra_units=extra_units,
                seed=seed,
                on_layer=bar.update,
            )
        except ValueError as error:
            raise InputError(f"absorb: {error} Fine-tune the teacher again.") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@torch.inference_mode()
def _fidelity(
    teacher: PreTrainedModel, student: PreTrainedModel, batches: Sequence[BatchEncoding], task: Task
) -> Metrics:
    """Return how close the student is to its teacher on the held-out texts."""
    student_logits, teacher_logits = (
        np.concatenate([model(**batch).logits.float().numpy() for batch in batches])
        for model in (student, teacher)
    )
    return task.fidelity(student_logits, teacher_logits)


def _choose(batches: int, part: float, seed: int) -> list[bool]:
    """Return which batches are held out: at least one, and never all."""
    count = min(batches - 1, max(1, round(part * batches)))
    chosen = set(np.random.default_rng(seed).permutation(batches)[:count].tolist())
    return [index in chosen for index in range(batches)]
