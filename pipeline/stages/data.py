"""Stage data: texts, labels, three disjoint splits and the digest of them all.

Sources are read row for row (pipeline/texts/reading.py). A text that occurs twice is kept once. No
text is in two splits. The test split keeps a shared text first, then the validation split.
"""

import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.facts.data import DataFacts
from pipeline.store.digests import sha256_json
from pipeline.tasks.task import LabelColumn, Labels, Task
from pipeline.texts.cells import Label, is_value, spell_cells
from pipeline.texts.reading import read_source
from pipeline.texts.source_table import SourceTable
from pipeline.texts.splits import LEFT_OUT, LabelledText, hold_out
from pipeline.texts.tables import Split, Text, stack_labels, write_split

logger = logging.getLogger(__name__)

_READING = 3
"""Version of reading and drawing; stages of a different version are built again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings:
    """Settings that shape the splits."""

    task: Task
    data: DataConfig
    sources: tuple[str, ...]
    """Digest of each source's content."""
    seed: int
    reading: int = _READING


def prepare_data(settings: DataSettings, out: Path) -> DataFacts:
    """Read the data, split it and write ``train``, ``validation`` and ``test`` to ``out``.

    Training texts that ``train_size`` leaves out are written beside them.

    Raises:
        InputError: for a source that cannot be read for certain, a missing column, or a cell that
            is no text or no label. Also for an empty split, training labels that nothing can be
            learned from, or ``splits_of`` without splits.
    """
    config, labels = settings.data, settings.task.labels
    given = {"test": config.test, "validation": config.validation, "train": config.train}
    sources = {
        name: _read(reference, settings)
        for name, reference in given.items()
        if reference is not None
    }
    texts_of = {name: _read_texts(source, settings) for name, source in sources.items()}
    labels_of = _read_labels(sources, texts_of, settings)
    tally: Counter[str] = Counter()
    seen: dict[Text, Label] = {}
    rows: dict[str, list[LabelledText]] = {}
    for name, source in sources.items():  # test first, because its texts leave the other splits
        labelled = _labelled_rows(source, texts_of[name], labels_of[name], settings, tally)
        # Sorted, because the order of the rows must not matter.
        fresh = _drop_duplicates(sorted(labelled), seen, tally)
        rows[name] = _drop_shared(fresh, list(rows.values()), settings.task.labels, tally)
    texts_digest = sha256_json(
        [config.labels, sorted(row for part in rows.values() for row in part)]
    )
    parts = hold_out(rows, config, settings.seed, strata=labels.strata, together=labels.together)
    names = labels.names(config)
    if reason := labels.check([label for _, label in parts["train"]], names):
        raise InputError(f"The training split {reason}.")
    splits = {name: _as_split(part, labels) for name, part in parts.items() if part}
    for name, split in splits.items():
        write_split(split, out / f"{name}.parquet")
    splits.pop(LEFT_OUT, None)
    return _describe(splits, settings, tally, texts_digest)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """A source, and the rows of it that ``data.filter`` keeps."""

    table: SourceTable
    kept: list[int]

    def place(self, position: int) -> str:
        """Return the place of a kept row in the source."""
        return self.table.place(self.kept[position])


def _read(reference: str, settings: DataSettings) -> _Source:
    """Return one source and the rows that the filter keeps."""
    config = settings.data
    label_columns = config.label_columns if settings.task.labels.of_text is None else ()
    table = read_source(
        reference,
        (*config.text_columns, *label_columns, *config.filter),
        label=next(iter(label_columns), config.text_columns[0]),
        labels=config.labels,
        subset=config.subset,
    )
    for name in config.filter:
        spell_cells(name, table.columns[name], table.source, table.place)  # or refuse its type
    kept = [
        row
        for row in range(table.size)
        if all(is_value(table.columns[name][row], value) for name, value in config.filter.items())
    ]
    if not kept:
        raise InputError(
            f"{reference} has no usable row: {table.size} rows read, 0 left by data.filter "
            f"{config.filter}. {_held_values(table, config)}"
        )
    left = f", {len(kept):,} of them left by data.filter" if config.filter else ""
    logger.info("data: %s rows in %s%s", f"{table.size:,}", reference, left)
    return _Source(table=table, kept=kept)


def _held_values(table: SourceTable, config: DataConfig) -> str:
    """Return a sentence with the commonest values of each filtered column."""
    held = []
    for name in config.filter:
        counts = Counter(spell_cells(name, table.columns[name], table.source, table.place))
        values = ", ".join(repr(value) for value, _ in counts.most_common(5))
        held.append(f"{name!r} holds {values}{', ...' if len(counts) > 5 else ''}")
    return f"In it {'; '.join(held)}."


def _read_texts(source: _Source, settings: DataSettings) -> list[Text]:
    """Return the text, or pair, of every kept row, even if empty."""
    columns = []
    for name in settings.data.text_columns:
        cells = [source.table.columns[name][row] for row in source.kept]
        columns.append(settings.task.labels.texts(name, cells, source.table.source, source.place))
    return list(zip(*columns, strict=True))


def _read_labels(
    sources: dict[str, _Source], texts: dict[str, list[Text]], settings: DataSettings
) -> dict[str, list[Label | None]]:
    """Return the label of every kept row, by split."""
    if settings.task.labels.of_text is not None:
        return {name: [None] * len(source.kept) for name, source in sources.items()}
    columns = []
    for split, source in sources.items():
        first, *others = (
            _label_column(source, name, texts[split], settings.task.labels)
            for name in settings.data.label_columns
        )
        columns.append(replace(first, others=others))
    try:
        return dict(zip(sources, settings.task.labels.read(columns, settings.data), strict=True))
    except ValueError as error:
        raise InputError(f"Cannot read the labels: {error}.") from error


def _label_column(source: _Source, name: str, texts: list[Text], labels: Labels) -> LabelColumn:
    cells = [source.table.columns[name][row] for row in source.kept]
    return LabelColumn(
        cells=labels.spell(name, cells, source.table.source, source.place),
        source=source.table.source,
        place=source.place,
        own_names=source.table.label_names.get(name),
        texts=texts,
    )


def _labelled_rows(
    source: _Source,
    texts: list[Text],
    found: list[Label | None],
    settings: DataSettings,
    tally: Counter[str],
) -> list[LabelledText]:
    """Return the kept rows of one source that have both text and label."""
    config, labels = settings.data, settings.task.labels
    rows: list[LabelledText] = []
    for row, (text, label) in enumerate(zip(texts, found, strict=True)):
        if labels.of_text is not None:
            label = labels.of_text(text)
        if label is not None and all(text):
            if labels.misfit is not None and (reason := labels.misfit(text, label)):
                raise InputError(f"{source.table.source}, {source.place(row)}: {reason}.")
            rows.append((text, label))
    tally["empty"] += len(found) - len(rows)
    if not rows:
        raise InputError(
            f"{source.table.source} has no usable row: {source.table.size} rows read. None of "
            f"the {len(found)} that data.filter {config.filter} leaves has both text and label."
        )
    return rows


def _drop_duplicates(
    rows: list[LabelledText], seen: dict[Text, Label], tally: Counter[str]
) -> list[LabelledText]:
    """Return the rows with unseen texts, and remember these texts."""
    fresh: list[LabelledText] = []
    for text, label in rows:
        if text in seen:
            tally["duplicates"] += 1
            tally["conflicts"] += seen[text] != label
        else:
            seen[text] = label
            fresh.append((text, label))
    return fresh


def _drop_shared(
    rows: list[LabelledText],
    others: list[list[LabelledText]],
    labels: Labels,
    tally: Counter[str],
) -> list[LabelledText]:
    """Return the rows whose group (`Labels.together`) is in no other split."""
    if labels.together is None:
        return rows
    held = {labels.together(text) for other in others for text, _ in other}
    kept = [row for row in rows if labels.together(row[0]) not in held]
    if len(kept) < len(rows):
        logger.info(
            "data: %s texts are left out, because their context is in another split",
            f"{len(rows) - len(kept):,}",
        )
    tally["duplicates"] += len(rows) - len(kept)
    return kept


def _as_split(rows: list[LabelledText], labels: Labels) -> Split:
    return Split(
        texts=tuple(text for text, _ in rows),
        labels=stack_labels([label for _, label in rows], labels.dtype),
    )


def _describe(
    splits: dict[str, Split], settings: DataSettings, tally: Counter[str], texts_digest: str
) -> DataFacts:
    config, labels = settings.data, settings.task.labels
    content = {
        name: list(zip(split.texts, split.labels.tolist(), strict=True))
        for name, split in splits.items()
    }
    names = labels.names(config)
    return DataFacts(
        digest=sha256_json([config.labels, content]),
        texts_digest=texts_digest,
        labels=names,
        text_columns=config.text_columns,
        sizes={name: len(split) for name, split in splits.items()},
        label_counts=labels.counts({name: split.labels for name, split in splits.items()}, names),
        dropped_duplicates=tally["duplicates"],
        conflicting_labels=tally["conflicts"],
        dropped_empty=tally["empty"],
    )
