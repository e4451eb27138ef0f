"""The contract of a task: everything that the stages, the gate and the server need of it.

One file per task in this folder fills in one `Task`, and all_tasks.py lists them. Nothing else
depends on which task it serves. This file imports neither torch nor transformers. Head and losses
are in the task's `Objective` (models/losses.py), which `Task.objective` imports when it is called.

Every task has two numbers of at most 1, better when higher. They are its main metric and the
agreement of student and teacher. Gate, sweep and report give both in points (hundredths).

Metrics, closeness and answers take readings. Readings are a model's outputs together with the
thresholds of the task. For a task without thresholds, readings are the outputs themselves.

Shapes: N = texts, C = outputs per text.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel

from models.token_layout import LOG_PROBABILITY
from pipeline.config import DataConfig, GateConfig
from pipeline.config.task import TaskName
from pipeline.decisions.check import Check
from pipeline.facts.quality import EvaluateFacts, Metrics
from pipeline.statistics.statistic import Statistic
from pipeline.tasks.columns import Column, Given, Proposal
from pipeline.tasks.layout import Layout
from pipeline.tasks.targets import unpack_readings, unpack_tokens
from pipeline.texts.cells import Cell, Label, read_texts_of, spell_cells

if TYPE_CHECKING:  # pyarrow, which tables imports, would cost a server 40 MB
    from models.losses import Objective
    from pipeline.texts.tables import Text


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelColumn:
    """The label cells of one source, as spelled there."""

    cells: Sequence[str]
    """Cells of the column without white space around; a missing cell is empty."""
    source: str
    """Name of the source in messages."""
    place: Callable[[int], str]
    """Locator: (position of a cell) -> its place in the source, such as ``line 17``."""
    own_names: Sequence[str] | None = None
    """Names of a hub data set for the indices in its cells."""
    others: "Sequence[LabelColumn]" = ()
    """Further label columns of the source, where the config names several."""
    texts: Sequence[Sequence[str]] = ()
    """Text, or pair of texts, in the row of each cell."""


def spell_stripped(
    name: str, cells: Sequence[Cell], source: str, place: Callable[[int], str]
) -> list[str]:
    """Return the cells of a label column as `spell_cells` does, without white space around them."""
    return [cell.strip() for cell in spell_cells(name, cells, source, place)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """Functions of a task that read, stratify and count its labels."""

    dtype: type[np.generic]
    """NumPy type of a split's labels."""
    names: Callable[[DataConfig], tuple[str, ...]]
    """Naming: (config) -> names of the C outputs, in order."""
    read: Callable[[Sequence[LabelColumn], DataConfig], list[list[Label | None]]]
    """Reader: (label columns of all sources, config) -> labels of each, None for an empty cell. It
    raises ValueError for a cell that is no label, in a sentence without its full stop."""
    check: Callable[[Sequence[Label], Sequence[str]], str | None]
    """Check: (training labels, names) -> why nothing can be learned from them; None if it can."""
    strata: Callable[[Sequence[Label]], list[int]]
    """Stratification: (labels) -> group of each. Splits are drawn in proportion to the groups."""
    counts: Callable[[Mapping[str, np.ndarray], Sequence[str]], dict[str, dict[str, int]]]
    """Count: (labels by split, names) -> number of texts by split and label, or range of labels."""
    spell: Callable[[str, Sequence[Cell], str, Callable[[int], str]], list[str]] = spell_stripped
    """Spelling: (column, cells, source, place) -> each cell as `read` takes it, or InputError."""
    per_output: bool = False
    """Whether a text has one label per output instead of a single label."""
    of_text: "Callable[[Text], Label] | None" = None
    """Substitute: (text) -> value in place of its label, for a task whose data has no label column.
    None for a task with labels."""
    texts: Callable[[str, Sequence[Cell], str, Callable[[int], str]], list[str]] = read_texts_of
    """Texts: (column, cells, source, place) -> each cell as a text, or InputError."""
    propose: Callable[[Sequence[Column], Given], Proposal] | None = None
    """Proposal: (columns of a table, names that the user gave) -> how to read it for the task. It
    raises UnfitError where that is not certain. None where `adapter-distill new` lacks the task."""
    together: Callable[[Sequence[str]], str] | None = None
    """Grouping: (text) -> a value. Texts of one value stay in one split. None for no grouping."""
    misfit: Callable[[Sequence[str], Label], str | None] | None = None
    """Check of a row: (text, its label) -> why both cannot belong together; None if they can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Thresholds that turn outputs into readings; chosen on the validation split, and shipped."""

    choose: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Choice: (outputs, labels) -> thresholds, (L,), as many as `names` returns."""
    attach: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Combination: (outputs, thresholds) -> readings."""
    names: Callable[[Sequence[str]], Sequence[str]] = tuple
    """Naming: (names of the outputs) -> names of the L thresholds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMembers:
    """Members of each class by teacher, by student and in truth, (R, C) booleans.

    A row is a text, or an entity of one.
    """

    names: Sequence[str]
    teacher: np.ndarray
    student: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """One statistic of old and new texts, with its test."""

    name: str
    before: float
    """Mean of the statistic over the old texts."""
    now: float
    """Mean of the statistic over the new texts."""
    test: str
    p_value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """Words for a task in plots, tables and on the model card."""

    loss: str
    """Name of the hard loss and its unit."""
    distance: str
    """Name of the distance to the teacher that distillation lowers, and its unit."""
    agreement: str
    """Agreement of student and teacher, as the noun of a sentence."""
    agrees: Callable[[float], str]
    """Clause: (agreement) -> a clause whose subject is the student."""
    constant: str
    """Best constant answer, as a noun."""
    model: str
    """Noun for the model, before the names of its outputs."""
    intended_use: str
    """Purpose of the student, behind "Intended use:"."""
    limits: tuple[str, ...]
    """Limits of such a student, in sentences."""
    hub_task: str
    """Name of the task on a model hub."""
    hub_metrics: Mapping[str, str]
    """Name of each metric on a model hub, for metrics that are shown there."""
    plain: str = "the head alone"
    """Baseline that costs as much as the student, as a noun."""
    example: str = '"a text"'
    """Example arguments of `adapter-distill predict`, behind the folder."""
    line: tuple[str, ...] = ()
    """Parts of an answer and texts ("text", "text_b") in a line of `predict`; empty for all."""
    hub_call: str | None = '"a text"'
    """Example arguments of transformers' pipeline, in Python; None where it lacks the task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One kind of task. Its functions take arrays of readings, (N, ...), and of labels, (N, ...).

    They are functions of a module, not lambdas, because a task is pickled for the child process.
    """

    name: TaskName
    """Value of the config's ``task``."""
    labels: Labels
    words: Words
    objective: "Callable[[], Objective]"
    """Import of the head and losses, which need torch."""
    main_metric: str
    """Name of the metric that selects weights and that the gate checks first."""
    agreement: str
    """Name of the fidelity value for agreement of student and teacher, at most 1."""
    distance: str
    """Name of the fidelity value that distillation lowers."""
    metrics: Statistic
    """Quality: (readings, labels) -> metrics."""
    fidelity: Statistic
    """Closeness: (student readings, teacher readings) -> fidelity values."""
    errors: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Errors: (readings, labels) -> error of each text, (N,); less is better."""
    constant: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """Best constant answer: (labels, a model's readings) -> its readings, (N, ...). The answer is
    the same for every text."""
    members: Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[str]], ClassMembers] | None
    """Members: (teacher readings, student readings, labels, names) -> members of every class. None
    for a task without classes."""
    checks: Callable[[EvaluateFacts, GateConfig], tuple[Check, ...]]
    """Checks of the gate on quality."""
    warnings: Callable[[EvaluateFacts, GateConfig], tuple[str, ...]]
    """Warnings to the user about a student that passes the checks."""
    shifts: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], list[Shift]]
    """Drift: (old labels, new labels, readings of old texts, readings of new texts) -> shifts."""
    answers: Callable[..., list[dict[str, Any]]]
    """Answers: (readings, names, texts) -> answer to each text, as plain JSON. A task with one row
    of outputs per text does not need the texts."""
    answer_type: type[BaseModel]
    """Pydantic model of an answer."""
    problem_type: str | None = None
    """Value of ``problem_type`` in a transformers ``config.json``; None where it has none."""
    hub_head: str | None = None
    """Type of the task's heads in AdapterHub's files; None where they have none. A classification
    head with one output is a regression."""
    thresholds: Thresholds | None = None
    """Thresholds that turn outputs into readings; None for a task without thresholds."""
    model_suffix: str | tuple[str, ...] = "ForSequenceClassification"
    """End of the names of transformers' classes for the task, or several such ends."""
    layout: Layout | None = None
    """Layout of a text in windows, for a task with outputs per token. Readings are (N, W, ...)
    then, NaN behind a text's last row. None for a task with one row of outputs per text."""
    reference: Callable[[Sequence[Sequence[str]], np.ndarray], np.ndarray] | None = None
    """Reference: (texts, labels) -> labels as metrics, errors and thresholds take them. None where
    the labels alone are enough."""

    continues: bool = False
    """Whether the task's model continues texts. Its outputs cover the vocabulary for each token,
    and are kept as readings (N, T, R), see models/token_layout.py. A text has no label. Answers are
    made from completions (pipeline/inference/generation.py)."""

    @property
    def is_ragged(self) -> bool:
        """Whether texts differ in the number of rows of outputs and labels, which are padded."""
        return self.layout is not None or self.continues

    @property
    def has_word_labels(self) -> bool:
        """Whether a text has one label per word."""
        return self.layout is not None and not self.layout.is_joint

    def key(self) -> str:
        """Return the name of the task, which alone is in a stage's key."""
        return self.name

    def truth(self, texts: Sequence[Sequence[str]], labels: np.ndarray) -> np.ndarray:
        """Return the labels of a split as metrics, errors and thresholds take them, (N, ...)."""
        return labels if self.reference is None else self.reference(texts, labels)

    def choose(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
        """Return thresholds from outputs on the validation split, (L,); None without thresholds."""
        return None if self.thresholds is None else self.thresholds.choose(outputs, labels)

    def readings(self, outputs: np.ndarray, thresholds: np.ndarray | None) -> np.ndarray:
        """Return the readings of outputs by thresholds; None takes the task's defaults."""
        if self.thresholds is None or thresholds is None:
            return outputs
        return self.thresholds.attach(outputs, thresholds)

    def comparable(self, readings: np.ndarray) -> np.ndarray:
        """Return the numbers of readings that differ little where two files differ little.

        These are all but a language model's ids, because nearly equal logits may swap two tokens.
        """
        return readings[..., LOG_PROBABILITY] if self.continues else readings

    def validate(self, outputs: np.ndarray, labels: np.ndarray) -> Metrics:
        """Return the metrics of outputs on the validation split, which chooses the thresholds."""
        return self.metrics(self.readings(outputs, self.choose(outputs, labels)), labels)

    def compare(self, student: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> Metrics:
        """Return a student's closeness to its teacher, and its quality, on the validation split.

        Args:
            student: Outputs, (N, ...).
            teacher: Outputs, (N, ...), which choose the thresholds of the task.
            labels: Labels as `truth` makes them, (N, ...).
        """
        thresholds = self.choose(teacher, labels)
        own, wanted = (self.readings(each, thresholds) for each in (student, teacher))
        return {**self.fidelity(own, wanted), **self.metrics(own, labels)}

    def pack(self, labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return distillation's targets, rows of labels and the teacher's outputs, (N, 1 + C)."""
        # As Python's numbers they would be eight times as large.
        return np.column_stack([labels, outputs]).astype(np.float32)

    # Any: arrays and tensors alike.
    def unpack(self, packed: Any) -> tuple[Any, Any]:
        """Return the labels (N,) and the teacher's outputs (N, C) of packed rows."""
        if self.continues:
            return unpack_readings(packed)
        if self.layout is not None:
            return unpack_tokens(packed)
        if self.labels.per_output:
            count = packed.shape[1] // 2
            return packed[:, :count], packed[:, count:]
        return packed[:, 0], packed[:, 1:]
