"""The contract of a task: everything that the stages, the gate and the server ask of it.

One file per task in this folder fills in one `Task`, and all_tasks.py lists them. Nothing else
knows which task it works for. Neither torch nor transformers is imported here: what trains is in
the task's `Objective` (models/losses.py), which `Task.objective` imports when it is called.

Two numbers of every task are at most 1, and better when higher: its main metric, and its agreement
of student with teacher. Gate, sweep and report speak of both in points (hundredths).

Metrics, closeness and answers take readings: a model's outputs, with the thresholds that they are
read by where a task has some. For all other tasks, readings are the outputs themselves.

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
    """The label cells of one source, as they are spelled there."""

    cells: Sequence[str]
    """Without white space around; a missing one is empty."""
    source: str
    """What messages call the source."""
    place: Callable[[int], str]
    """(position of a cell) -> where it stands: ``line 17``."""
    own_names: Sequence[str] | None = None
    """Names of a hub data set for the indices in its cells."""
    others: "Sequence[LabelColumn]" = ()
    """The source's further label columns, where the config names several."""
    texts: Sequence[Sequence[str]] = ()
    """The text, or pair of texts, beside each cell."""


def spell_stripped(
    name: str, cells: Sequence[Cell], source: str, place: Callable[[int], str]
) -> list[str]:
    """Return the cells of a label column as `spell_cells` does, without white space around."""
    return [cell.strip() for cell in spell_cells(name, cells, source, place)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """How a task reads its labels, draws by them, and counts them."""

    dtype: type[np.generic]
    """Type of a split's labels."""
    names: Callable[[DataConfig], tuple[str, ...]]
    """Names of the C outputs, in their order."""
    read: Callable[[Sequence[LabelColumn], DataConfig], list[list[Label | None]]]
    """(label columns of all sources, config) -> labels of each; None for an empty cell. Raises
    ValueError for what is no label, in a sentence without its full stop."""
    check: Callable[[Sequence[Label], Sequence[str]], str | None]
    """(training labels, names) -> why nothing can be learned from them; None if something can."""
    strata: Callable[[Sequence[Label]], list[int]]
    """Group of each label; splits are drawn in proportion of the groups."""
    counts: Callable[[Mapping[str, np.ndarray], Sequence[str]], dict[str, dict[str, int]]]
    """(labels by split, names) -> texts by split and label, or range of labels."""
    spell: Callable[[str, Sequence[Cell], str, Callable[[int], str]], list[str]] = spell_stripped
    """(column, cells, source, place) -> each cell as `read` takes it. Raises InputError for a cell
    that has no spelling."""
    per_output: bool = False
    """Whether a text has a label for each output, and not one in all."""
    of_text: "Callable[[Text], Label] | None" = None
    """(text) -> what stands for its label, in a task whose data has none; there is no label column
    then."""
    texts: Callable[[str, Sequence[Cell], str, Callable[[int], str]], list[str]] = read_texts_of
    """(column, cells, source, place) -> each cell as a text. Raises InputError for another cell."""
    propose: Callable[[Sequence[Column], Given], Proposal] | None = None
    """(columns of a table, names that the user gave) -> how it is read for the task. Raises
    UnfitError where that is not certain. None: `adapter-distill new` knows no such task."""
    together: Callable[[Sequence[str]], str] | None = None
    """(text) -> what texts of one split alone may share; None where any two may be parted."""
    misfit: Callable[[Sequence[str], Label], str | None] | None = None
    """(text, its label) -> why they cannot belong together; None where they can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thresholds:
    """Thresholds by which outputs are read; chosen on the validation split, and shipped."""

    choose: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(outputs, labels) -> thresholds, (L,): one per output, or as many as have names."""
    attach: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(outputs, thresholds) -> readings."""
    names: Callable[[Sequence[str]], Sequence[str]] = tuple
    """(names of the outputs) -> names of the thresholds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassMembers:
    """What belongs to which class, by each model and in truth: (R, C) booleans.

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
    """Mean over the old texts."""
    now: float
    """Mean over the new texts."""
    test: str
    p_value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What people read of a task: in plots, tables and on the card."""

    loss: str
    """The hard loss and its unit."""
    distance: str
    """The distance to the teacher that distillation lowers, and its unit."""
    agreement: str
    """Agreement of student and teacher, as the noun of a sentence."""
    agrees: Callable[[float], str]
    """(agreement) -> a clause whose subject is the student."""
    constant: str
    """The best constant answer, as a noun."""
    model: str
    """A noun for the model, which the names of its outputs follow."""
    intended_use: str
    """What the student is for, after "Intended use:"."""
    limits: tuple[str, ...]
    """What such a student cannot do, in sentences."""
    hub_task: str
    """Name of the task on a model hub."""
    hub_metrics: Mapping[str, str]
    """Name on a model hub of each metric that is shown there."""
    plain: str = "the head alone"
    """The baseline that costs as much as the student, as a noun."""
    example: str = '"a text"'
    """Arguments of `adapter-distill predict`, behind the folder."""
    line: tuple[str, ...] = ()
    """Parts of an answer and texts, "text" and "text_b", in a line of `predict`; none: all."""
    hub_call: str | None = '"a text"'
    """Arguments of a call to transformers' pipeline, in Python; None where it has no such one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One kind of task. Its functions take arrays of readings, (N, ...), and of labels, (N, ...).

    They are functions of a module, not lambdas: a task travels to the process that builds.
    """

    name: TaskName
    """Value of the config's ``task``."""
    labels: Labels
    words: Words
    objective: "Callable[[], Objective]"
    """Head and losses, the torch half."""
    main_metric: str
    """Metric that decides which weights are kept, and what the gate looks at."""
    agreement: str
    """Fidelity value: how far the student agrees with its teacher."""
    distance: str
    """Fidelity value that distillation lowers."""
    metrics: Statistic
    """(readings, labels) -> quality."""
    fidelity: Statistic
    """(student readings, teacher readings) -> closeness."""
    errors: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(readings, labels) -> (N,), the error of each text; less is better."""
    constant: Callable[[np.ndarray, np.ndarray], np.ndarray]
    """(labels, a model's readings) -> (N, ...), readings of the best answer that is the same for
    every text."""
    members: Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[str]], ClassMembers] | None
    """(teacher readings, student readings, labels, names) -> members of every class; None for a
    task without classes."""
    checks: Callable[[EvaluateFacts, GateConfig], tuple[Check, ...]]
    """The gate's checks of quality."""
    warnings: Callable[[EvaluateFacts, GateConfig], tuple[str, ...]]
    """What a user should know of a student that passes them."""
    shifts: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], list[Shift]]
    """(old labels, new labels, readings of old texts, readings of new texts) -> drift of both."""
    answers: Callable[..., list[dict[str, Any]]]
    """(readings, names, texts) -> what a user reads of each text, as plain JSON. A task with one
    row of outputs per text does without the texts."""
    answer_type: type[BaseModel]
    """Schema of an answer."""
    problem_type: str | None = None
    """Name of the task in a transformers ``config.json``; None where it names none."""
    hub_head: str | None = None
    """Type of its heads in AdapterHub's files, where one output is a regression; None for none."""
    thresholds: Thresholds | None = None
    """Thresholds that its outputs are read by; None for a task without any."""
    model_suffix: str | tuple[str, ...] = "ForSequenceClassification"
    """End of the name of transformers' classes for it, or several."""
    layout: Layout | None = None
    """How a text is read in windows, where its outputs are those of its tokens. Readings are
    (N, W, ...) then: NaN behind what a text has of them. None for one row of outputs per text."""
    reference: Callable[[Sequence[Sequence[str]], np.ndarray], np.ndarray] | None = None
    """(texts, labels) -> what metrics, errors and thresholds take as labels, where these need the
    texts too; None where the labels alone are enough."""

    continues: bool = False
    """Whether its model continues texts: its outputs are over a whole vocabulary for each token. Of
    these, readings are kept (models/token_layout.py), (N, T, R); a text has no label. Its answers
    are made of completions (pipeline/inference/generation.py)."""

    @property
    def is_ragged(self) -> bool:
        """Whether texts have unlike numbers of rows, of outputs and labels, which are padded."""
        return self.layout is not None or self.continues

    @property
    def has_word_labels(self) -> bool:
        """Whether the label of a text is one for each of its words."""
        return self.layout is not None and not self.layout.is_joint

    def key(self) -> str:
        """Return what a stage's key holds of a task: its name."""
        return self.name

    def truth(self, texts: Sequence[Sequence[str]], labels: np.ndarray) -> np.ndarray:
        """Return the labels of a split as metrics, errors and thresholds take them, (N, ...)."""
        return labels if self.reference is None else self.reference(texts, labels)

    def choose(self, outputs: np.ndarray, labels: np.ndarray) -> np.ndarray | None:
        """Return thresholds by outputs on the validation split, (L,); None where there are none."""
        return None if self.thresholds is None else self.thresholds.choose(outputs, labels)

    def readings(self, outputs: np.ndarray, thresholds: np.ndarray | None) -> np.ndarray:
        """Return outputs as they are read by thresholds; None stands for the task's defaults."""
        if self.thresholds is None or thresholds is None:
            return outputs
        return self.thresholds.attach(outputs, thresholds)

    def comparable(self, readings: np.ndarray) -> np.ndarray:
        """Return the numbers of readings that differ little where two files differ little.

        Those are all but a language model's ids: the likeliest token may be another one by a hair.
        """
        return readings[..., LOG_PROBABILITY] if self.continues else readings

    def validate(self, outputs: np.ndarray, labels: np.ndarray) -> Metrics:
        """Return the metrics of outputs on the validation split, which chooses the thresholds."""
        return self.metrics(self.readings(outputs, self.choose(outputs, labels)), labels)

    def compare(self, student: np.ndarray, teacher: np.ndarray, labels: np.ndarray) -> Metrics:
        """Return a student's closeness to its teacher, and its quality, on the validation split.

        Args:
            student: Outputs, (N, ...).
            teacher: Outputs, (N, ...). They choose the thresholds, where the task has some.
            labels: Labels as `truth` makes them, (N, ...).
        """
        thresholds = self.choose(teacher, labels)
        own, wanted = (self.readings(each, thresholds) for each in (student, teacher))
        return {**self.fidelity(own, wanted), **self.metrics(own, labels)}

    def pack(self, labels: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return rows of labels and the teacher's outputs: distillation's targets, (N, 1 + C)."""
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
