"""Teachers and students: loaded, absorbed, distilled and exported.

Imports stand inside the functions: a prediction must start without torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adapter_distill.bars import without_foreign_bars
from adapter_distill.texts import Folder, GivenText, as_texts
from pipeline.config import AbsorbConfig, DistillConfig, ExportConfig
from pipeline.errors import InputError
from pipeline.facts.absorption import AbsorbFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """A model with adapters, in a folder."""

    folder: Path
    task: str
    """Kind of answer, such as ``classification``."""
    labels: tuple[str, ...]
    """Names of its outputs, in their order."""
    backbone: str
    """Hub id or path of the model that its adapters were trained in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Student:
    """A stock transformers model without adapters, in a folder that ``from_pretrained`` reads."""

    folder: Path
    fidelity: Mapping[str, float]
    """Closeness to its teacher on held-out texts, such as ``agreement``."""
    absorbed: AbsorbFacts | None = None
    """Every fit of the absorption; None for a distilled student."""


def load_teacher(
    folder: Folder, *, backbone: str | None = None, out: Folder | None = None
) -> Teacher:
    """Return a teacher: a run's, or with ``out`` a new one made of an AdapterHub checkpoint.

    >>> teacher = load_teacher("runs/latest/finetune")
    >>> teacher.task, teacher.labels
    ('classification', ('negative', 'positive'))
    >>> load_teacher("hub-adapter", backbone="tiny-bert", out="imported").labels
    ('negative', 'positive')

    Args:
        folder: Folder of a finetune stage, such as ``runs/latest/finetune``. With ``out``, a
            folder that the ``adapters`` library saved, or its hub id.
        backbone: Model that an AdapterHub checkpoint was trained in. For a run's teacher, the new
            place of a backbone that has moved.
        out: New folder for the teacher that is made of an AdapterHub checkpoint.

    Raises:
        InputError: when the folder holds no teacher, or its backbone cannot be found.
    """
    from pipeline.checkpoints.teachers import find_backbone
    from pipeline.standalone.import_adapter import import_adapter

    found = Path(folder)
    if out is not None:
        if backbone is None:
            raise InputError("An AdapterHub checkpoint needs backbone=, its model's id or path.")
        with without_foreign_bars():
            import_adapter([str(folder)], Path(out), backbone=backbone)
        found = Path(out)
    description, _ = find_backbone(found, backbone)
    return Teacher(
        folder=found,
        task=description.task,
        labels=description.labels,
        backbone=backbone or description.backbone,
    )


def absorb(
    teacher: Teacher,
    texts: Sequence[GivenText],
    *,
    out: Folder,
    layers: Sequence[int] | None = None,
    exact: Literal["never", "free", "always"] = "free",
    extra_units: int = 0,
    lora_rank: int | None = None,
) -> Student:
    """Return a student that does in its own weights what the teacher's adapters do.

    It takes texts without labels and trains nothing.

    >>> teacher = load_teacher("runs/latest/finetune")
    >>> texts = Path("texts.txt").read_text(encoding="utf-8").splitlines()
    >>> student = absorb(teacher, texts, out="absorbed")
    >>> 0 <= student.fidelity["agreement"] <= 1
    True
    >>> [(fit.layer, fit.site) for fit in student.absorbed.sites][:2]
    [(0, 'attention'), (0, 'ffn')]

    Args:
        teacher: Model with adapters.
        texts: Texts or pairs like those that the student will read; some hundreds at least.
        out: New folder of the student.
        layers: Layers that the student keeps, from 0; None keeps all.
        exact: Exact folds: ``free`` takes those that need no wider FFN, and ``always`` takes all.
        extra_units: Number of extra units in every FFN of the student.
        lora_rank: Rank of PEFT's LoRA for the backbone, which is then written instead of a model.

    Raises:
        InputError: when ``out`` exists, texts are too few, the teacher has no adapters, or LoRA
            cannot hold such a student.
    """
    from pipeline.standalone.absorb import absorb_alone, absorb_as_lora

    if lora_rank is not None and (layers is not None or extra_units):
        raise InputError("LoRA keeps the backbone as it is: leave out layers and extra_units.")
    given = as_texts(texts)
    config = AbsorbConfig(texts=max(8, len(given)), exact=exact, extra_units=extra_units)
    kept = None if layers is None else tuple(layers)
    place = (teacher.folder, given, Path(out), config)
    with without_foreign_bars():
        if lora_rank is not None:
            facts = absorb_as_lora(*place, rank=lora_rank, backbone=teacher.backbone)
        else:
            facts = absorb_alone(*place, backbone=teacher.backbone, layers=kept)
    return Student(folder=Path(out), fidelity=facts.held_out, absorbed=facts)


def distill(
    student: Student,
    teacher: Teacher,
    texts: Sequence[GivenText],
    *,
    out: Folder,
    config: DistillConfig | None = None,
) -> Student:
    """Return the student trained towards its teacher, or the one given where that did not help.

    A tenth of the texts is held out, and judges which of the two is closer.

    >>> teacher = load_teacher("runs/latest/finetune")
    >>> texts = Path("texts.txt").read_text(encoding="utf-8").splitlines()
    >>> student = absorb(teacher, texts, out="start")
    >>> distilled = distill(student, teacher, texts, out="distilled")
    >>> sorted(distilled.fidelity)[:2]
    ['accuracy', 'agreement']

    Args:
        student: Absorbed student.
        teacher: Its teacher.
        texts: Texts or pairs without labels.
        out: New folder of the student.
        config: Epochs, learning rate and the rest of a config's table ``distill``.

    Raises:
        InputError: when ``out`` exists, there are too few texts, or the task needs labelled texts.
    """
    from pipeline.standalone.distill import distill_alone

    with without_foreign_bars():
        facts = distill_alone(
            student.folder,
            teacher.folder,
            as_texts(texts),
            Path(out),
            config or DistillConfig(),
            backbone=teacher.backbone,
        )
    return Student(folder=Path(out), fidelity=facts.validation)


def export(
    model: Student | Teacher | Folder,
    *,
    out: Folder,
    config: ExportConfig | None = None,
    backbone: str | None = None,
) -> Path:
    """Return the folder of a bundle: tokenizer, ONNX file and digests, proven equal to torch.

    >>> teacher = load_teacher("runs/latest/finetune")
    >>> bundle = export(teacher, out="teacher-bundle")
    >>> sorted(path.name for path in bundle.glob("onnx/*"))
    ['model.onnx']

    Args:
        model: Student or teacher, or the folder of one.
        out: New folder of the bundle.
        config: Opset and tolerance.
        backbone: New place of a teacher's backbone, where it has moved.

    Raises:
        InputError: when ``out`` exists, or the graph differs from torch by more than the tolerance.
    """
    from pipeline.standalone.export import export_alone

    folder = model.folder if isinstance(model, Student | Teacher) else Path(model)
    if isinstance(model, Teacher):
        backbone = backbone or model.backbone
    with without_foreign_bars():
        export_alone(folder, Path(out), config or ExportConfig(), backbone=backbone)
    return Path(out)
