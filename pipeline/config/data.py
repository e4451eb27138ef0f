"""Texts, labels and splits."""

from typing import Annotated

from pydantic import Field, field_validator

from pipeline.config.section import Section

SplitSize = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]


class DataConfig(Section):
    """Texts, labels and splits."""

    train: str
    """Source of the training texts: a CSV, TSV, JSONL, Parquet or CoNLL file. Or a file of an
    installed package (``package://name/path.csv``), or a hub data set (``owner/name@split``)."""

    validation: str | None = None
    """Source of the validation texts; without it, a part of ``train`` is held out."""

    test: str | None = None
    """Source of the test texts; without it, a part of ``train`` is held out."""

    unlabelled: tuple[str, ...] = ()
    """Sources of further texts without labels, for absorption and distillation. A source
    is a table with the text columns, a text file (one text per line) or a hub data set. Folders and
    patterns (``texts/*.parquet``) name several files of one kind, read in the order of their paths.
    Parquet, JSONL, text files and hub data sets may be larger than memory. JSONL and text files may
    be compressed (``.jsonl.gz``; also ``.bz2``, ``.zst`` and ``.lz4``). These texts follow the
    training texts, up to ``absorb.texts`` and ``distill.texts``."""

    unlabelled_size: int | None = Field(default=None, ge=1)
    """At most this many texts of ``unlabelled``; all of them by default."""

    subset: str | None = None
    """Configuration name of a Hugging Face data set, such as ``sst2`` of ``nyu-mll/glue``."""

    text: tuple[str, ...] | str = "text"
    """Name of the text column, or of the two columns of a pair. A pair is two sentences, or a
    question and its context."""

    label: tuple[str, ...] | str = "label"
    """Name of the label column. A multi-label task also takes several columns of 0 and 1, each
    named as its label. A question answering takes that of the answers, and also that of impossible
    questions."""

    labels: tuple[str, ...] = ()
    """Label names in class order. Values in the data are all names, or all indices into this list.
    A regression has none, because its labels are numbers. A question answering has none either.
    Several label columns name the labels themselves."""

    filter: dict[str, str] = Field(default_factory=dict)
    """Rows to keep: those whose columns have these values. Text is compared as it is spelled in
    the file, numbers by their value."""

    train_size: int | None = Field(default=None, ge=1)
    """Most training texts, drawn from each class in proportion; all texts by default."""

    validation_size: SplitSize = 0.1
    """Size of a validation split held out of ``train``: texts (whole number) or a fraction."""

    test_size: SplitSize = 0.1
    """Size of a test split held out of ``train``: texts (whole number) or a fraction."""

    splits_of: str | None = None
    """Folder of an earlier run's splits (``runs/latest/data``). Its texts keep their splits, and
    the same fraction of new texts is held out. A run that starts from that run's adapters needs it:
    they must not be tested on their training texts."""

    max_length: int = Field(default=128, ge=4)
    """Longest input, in tokens. Longer texts are truncated, or read in windows where the task has
    an output per token."""

    @field_validator("text", mode="before")
    @classmethod
    def _check_text(cls, value: object) -> object:
        names = list(value) if isinstance(value, list | tuple) else [value]
        if len(names) not in (1, 2) or not all(isinstance(name, str) for name in names):
            raise ValueError("expected one or two column names")
        return tuple(names) if len(names) == 2 else names[0]

    @field_validator("label")
    @classmethod
    def _check_label(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if isinstance(value, tuple) and (len(value) < 2 or len(set(value)) != len(value)):
            raise ValueError("expected the name of one column, or several distinct names")
        return value

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("expected distinct names")
        return value

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The text columns: one, or two for sentence pairs."""
        return (self.text,) if isinstance(self.text, str) else self.text

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The label column, or several of 0 and 1."""
        return (self.label,) if isinstance(self.label, str) else self.label
