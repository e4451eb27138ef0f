"""Stage absorb: a student without adapters that starts next to its teacher.

No labels and no gradients. Adapters that fold exactly into a stock model are folded
(models/absorption/exact.py). The others' effect on unlabelled texts is moved into the student's
dense layers by ridge regressions (models/absorption/by_regression.py).
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from models.absorption.by_regression import absorb_adapters
from models.absorption.exact import FoldPlan, fold, plan_fold
from models.absorption.extra_units import widen_ffn
from models.absorption.fit import Fit
from models.absorption.walk import AbsorptionPlan
from models.adapters.invertible import absorb_embeddings, has_invertible
from models.processes import count_processes, is_first, own_number
from models.student import adapter_traces, add_biases, keep_layers, take_head
from pipeline.checkpoints.compute import place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.checkpoints.teachers import TEACHER_TENSORS, load_teacher, read_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer, save_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import AbsorbConfig
from pipeline.errors import InputError
from pipeline.facts.absorption import AbsorbFacts, SiteFit
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.facts.training import TeacherFacts
from pipeline.store.files import scratch_folder
from pipeline.store.stage import Stage
from pipeline.store.store import SCRATCH
from pipeline.texts.tables import Split, Text, read_split
from pipeline.texts.unlabelled import read_transfer_texts
from pipeline.training.closeness import compare_models
from pipeline.training.held_out import FitBatches, fit_batches, store_rows
from pipeline.training.memory import in_smaller_batches
from pipeline.training.ranks import in_processes
from pipeline.workers.bars import hides_bars

logger = logging.getLogger(__name__)

_FEWEST = 8
"""Fewest texts of an absorption; with fewer, none could be held out."""
_MOST_UNSEEN = 1000
"""Most validation texts on which student and teacher are compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AbsorbSettings:
    """Settings that shape an absorbed student, beside texts and teacher."""

    context: ModelContext
    absorb: AbsorbConfig
    layers: tuple[int, ...] | None
    """Layers of the backbone that the student keeps; None keeps all."""
    rank: int | None = None
    """Highest rank of each weight's change, for LoRA; None leaves it free."""


@in_processes
def absorb(
    data: Stage[DataFacts],
    unlabelled: Stage[UnlabelledFacts] | None,
    teacher: Stage[TeacherFacts],
    settings: AbsorbSettings,
    out: Path,
) -> AbsorbFacts:
    """Write the student to ``out``, absorbed on training texts and then unlabelled ones.

    For everything else, see `absorb_teacher`.
    """
    more = None if unlabelled is None else unlabelled.folder
    texts = read_transfer_texts(data.folder, more, settings.absorb.texts)
    unseen = read_split(data.folder, "validation").head(_MOST_UNSEEN)
    return absorb_teacher(texts, teacher.folder, settings, out, unseen=unseen)


def absorb_teacher(
    texts: Sequence[Text],
    teacher: Path,
    settings: AbsorbSettings,
    out: Path,
    *,
    unseen: Split | None = None,
) -> AbsorbFacts:
    """Write the absorbed student to ``out``, as a stock transformers model with its tokenizer.

    Args:
        texts: Unlabelled texts or pairs.
        teacher: Folder of a teacher.
        settings: Layers, rank and further settings of the absorption.
        out: Folder for the student.
        unseen: Texts that the teacher was not trained on, to compare both models on. By default,
            these are the texts that choose the ridge strengths.

    Raises:
        InputError: when the teacher has no adapters, too few texts are given to hold some out, a
            layer does not exist, or the teacher's activations are not finite.
    """
    context, config = settings.context, settings.absorb
    texts = texts[: config.texts]
    _check(texts, teacher)
    with scratch_folder(out / SCRATCH / str(own_number())) as scratch:
        teacher_model = place(load_teacher(context.backbone, teacher), context.compute)
        architecture = find_architecture(teacher_model)
        tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
        rows = store_rows(tokenizer, texts, context, folder=scratch / "rows")
        size = min(config.batch_size, max(1, len(texts) // 4))
        batches = fit_batches(
            tokenizer, rows, batch_size=size, part=config.held_out, seed=context.seed
        ).on(teacher_model.device)

        fold_plan = plan_fold(teacher_model, architecture)
        if _folds(fold_plan, settings):
            start = _Start(fold(teacher_model, architecture), "exact", fold_plan.extra_units)
        else:
            start = _regress(teacher_model, teacher, batches, settings, scratch=scratch / "walk")
            start.why_not_exact = fold_plan.obstacles
    if traces := adapter_traces(start.model):
        raise RuntimeError(f"The student carries traces of adapters: {traces}. Nothing was saved.")
    if is_first():
        start.model.save_pretrained(out)
        save_tokenizer(tokenizer, out)
    compared = batches.held_out_texts if unseen is None else unseen
    return AbsorbFacts(
        texts=len(texts),
        tokens=batches.tokens,
        method=start.method,
        extra_units=start.extra_units,
        why_not_exact=start.why_not_exact,
        embeddings_r2=start.embeddings_r2,
        held_out=compare_models(teacher_model, start.model, compared, context),
        held_out_texts="given" if unseen is None else "validation",
        sites=start.sites,
        device=str(context.compute),
    )


def _check(texts: Sequence[Text], teacher: Path) -> None:
    if len(texts) < _FEWEST:
        raise InputError(
            f"absorb needs at least {_FEWEST} texts, found {len(texts)}. Give more texts."
        )
    if read_teacher(teacher).adapter is None:
        raise InputError(f"The teacher in {teacher} has no adapters: there is nothing to absorb.")


@dataclass(slots=True)
class _Start:
    """A student before or after its regressions, and the record of its making."""

    model: PreTrainedModel
    method: str
    extra_units: int
    embeddings_r2: float | None = None
    why_not_exact: tuple[str, ...] = ()
    fits: list[Fit] = field(default_factory=list)

    @property
    def sites(self) -> tuple[SiteFit, ...]:
        """Results of the fits, as facts."""
        return tuple(
            SiteFit(layer=fit.layer, site=fit.site, r2=round(fit.r2, 4), ridge=fit.ridge)
            for fit in self.fits
        )


def _folds(plan: FoldPlan, settings: AbsorbSettings) -> bool:
    """Return whether to fold the adapters exactly."""
    if settings.layers is not None:
        return False
    wanted = settings.absorb.exact
    return plan.free if wanted == "free" else plan.possible and wanted == "always"


def _regress(
    teacher_model: PreTrainedModel,
    teacher: Path,
    batches: FitBatches,
    settings: AbsorbSettings,
    *,
    scratch: Path,
) -> _Start:
    """Return the absorbed student, with smaller batches where memory runs out."""

    def attempt(size: int) -> _Start:
        parts = batches.split(size)
        start = _start(teacher_model, teacher, settings)
        plan = _plan(start.model, parts, settings)
        start.fits = _fit(teacher_model, start.model, parts, plan, scratch=scratch)
        return start

    if count_processes() > 1:  # one process alone cannot begin anew
        return attempt(batches.size)
    return in_smaller_batches("absorb", batches.size, attempt)


def _start(teacher_model: PreTrainedModel, teacher: Path, settings: AbsorbSettings) -> _Start:
    """Return the student before its regressions: the backbone in the student's shape."""
    context, config = settings.context, settings.absorb
    objective = context.task.objective()
    labels = read_teacher(teacher).labels
    student = load_model(context.backbone, objective, labels=labels, seed=context.seed)
    place(student, context.compute)
    architecture = find_architecture(student)
    take_head(student, load_file(teacher / TEACHER_TENSORS))
    embeddings = None
    if has_invertible(teacher_model):
        embeddings = _absorb_embeddings(teacher_model, student, context)
    if settings.layers is not None:
        with _refusing("{}"):
            keep_layers(student, architecture, settings.layers)
    if config.add_biases:
        add_biases(student, architecture)
    if config.extra_units:
        with _refusing("absorb.extra_units: {}. Set it to 0."):
            widen_ffn(student, architecture, config.extra_units)
    return _Start(student, "ridge", config.extra_units, embeddings)


def _absorb_embeddings(
    teacher: PreTrainedModel, student: PreTrainedModel, context: ModelContext
) -> float:
    with _refusing("absorb: {}."):
        r2 = absorb_embeddings(
            teacher.base_model, student.base_model, length=context.max_length, seed=context.seed
        )
    logger.info("absorb: the embeddings took over %.3f of the invertible adapter", r2)
    return round(r2, 4)


@contextmanager
def _refusing(message: str) -> Iterator[None]:
    """Raise an `InputError` with this message for a model's ValueError."""
    try:
        yield
    except ValueError as error:
        raise InputError(message.format(error)) from error


def _plan(
    student: PreTrainedModel, batches: FitBatches, settings: AbsorbSettings
) -> AbsorptionPlan:
    """Return the plan of the regressions."""
    objective = settings.context.task.objective()
    return AbsorptionPlan(
        held_out=batches.held_out,
        counting=batches.counting(objective.head(find_architecture(student))),
        margins=objective.margins_of if settings.absorb.weigh_tokens else None,
        kept=settings.layers,
        extra_units=settings.absorb.extra_units,
        rank=settings.rank,
        seed=settings.context.seed,
    )


def _fit(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    batches: FitBatches,
    plan: AbsorptionPlan,
    *,
    scratch: Path,
) -> list[Fit]:
    """Absorb by regression, in place."""
    architecture = find_architecture(student)
    tokens, given = batches.tokens, batches.batches
    inputs = architecture.ffn_size(student.base_model)
    if tokens < 2 * inputs:
        logger.warning(
            "absorb: %d tokens for regressions on %d inputs are few; more texts bring the student "
            "closer to its teacher",
            tokens,
            inputs,
        )
    shutil.rmtree(scratch, ignore_errors=True)  # of an attempt that had too little memory
    total = len(architecture.layers(student.base_model)) + (plan.margins is not None)
    bars = tqdm(total=total, desc="absorbing", unit="part", leave=False, disable=hides_bars())
    with bars as bar, _refusing("absorb: {} Fine-tune the teacher again."):
        try:
            return absorb_adapters(
                teacher, student, architecture, given, plan, scratch=scratch, on_layer=bar.update
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
