"""Stage absorb: a student of the backbone's own shape that starts next to its teacher.

No labels and no gradients: the adapters' effect on unlabelled texts is moved into the student's
dense layers in closed form. Idea and mathematics are in models/absorption.py.
"""

import shutil
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from tqdm.auto import tqdm

from models import absorption
from models.architectures import architecture_of
from models.objective import Objective
from models.student import adapter_traces, take_head
from pipeline.artifacts import SCRATCH, Stage
from pipeline.checkpoints import (
    TEACHER_TENSORS,
    Checkpoint,
    load_classifier,
    load_teacher,
    load_tokenizer,
)
from pipeline.config import AbsorbConfig
from pipeline.encoding import batches_by_length, encode
from pipeline.errors import InputError
from pipeline.records import AbsorbFacts, DataFacts, SiteFit, TeacherFacts
from pipeline.tables import read_split


def absorb(
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    checkpoint: Checkpoint,
    config: AbsorbConfig,
    out: Path,
    *,
    objective: Objective,
    max_length: int,
    seed: int,
) -> AbsorbFacts:
    """Write the absorbed student to ``out``, as a stock transformers model.

    Raises:
        InputError: when there are too few texts to hold some out, or the teacher's activations
            are not finite.
    """
    texts = read_split(data.folder, "train").head(config.texts).texts
    teacher_model = load_teacher(checkpoint, teacher.folder, objective)
    student = load_classifier(checkpoint, objective, labels=data.facts.labels, seed=seed)
    take_head(student, load_file(teacher.folder / TEACHER_TENSORS))
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    examples = encode(tokenizer, texts, max_length=max_length)
    size = min(config.batch_size, max(1, len(texts) // 4))
    batches = [batch for _, batch in batches_by_length(tokenizer, examples, batch_size=size)]
    if len(batches) < 2:
        raise InputError(f"absorb needs at least 8 texts, found {len(texts)}. Give more texts.")
    held_out = _choose(len(batches), config.held_out, seed)
    architecture = architecture_of(student.config.model_type)
    layers = len(architecture.layers(student.base_model))
    scratch = out / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
    with tqdm(total=layers, desc="absorbing", unit="layer", leave=False, disable=None) as bar:
        try:
            fits = absorption.absorb(
                teacher_model,
                student,
                architecture,
                batches,
                held_out=held_out,
                scratch=scratch,
                on_layer=bar.update,
            )
        except ValueError as error:
            raise InputError(f"absorb: {error} Fine-tune the teacher again.") from error
    if traces := adapter_traces(student):
        raise RuntimeError(f"The student carries traces of adapters: {traces}. Nothing was saved.")
    student.save_pretrained(out)
    return AbsorbFacts(
        texts=len(texts),
        sites=tuple(
            SiteFit(layer=fit.layer, site=fit.site, r2=round(fit.r2, 4), ridge=fit.ridge)
            for fit in fits
        ),
    )


def _choose(batches: int, part: float, seed: int) -> list[bool]:
    """Return which batches are held out: at least one, and never all."""
    count = min(batches - 1, max(1, round(part * batches)))
    chosen = set(np.random.default_rng(seed).permutation(batches)[:count].tolist())
    return [index in chosen for index in range(batches)]
