"""Stage data: texts, labels, three disjoint splits and the digest of it all.

The readers are those of ``datasets``. A text that occurs twice is kept once, and one that the test
split (or then the validation split) holds is taken out of the others, so no text stands in two.
"""

import csv
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from pipeline.config import DataConfig
from pipeline.errors import InputError, UnreachableError
from pipeline.facts.data import DataFacts
from pipeline.store.digests import sha256_json
from pipeline.tasks.task import Label, Labels, Task
from pipeline.texts.sources import DATA_SUFFIXES, locate
from pipeline.texts.splits import LEFT_OUT, LabelledText, hold_out
from pipeline.texts.tables import Split, Text, write_split


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSettings:
    """What shapes the splits."""

    task: Task
    data: DataConfig
    sources: tuple[str, ...]
    """Digest of each source's content."""
    seed: int


def prepare_data(settings: DataSettings, out: Path) -> DataFacts:
    """Read the data, split it and write ``train``, ``validation`` and ``test`` to ``out``.

    Beside them are the training texts that ``train_size`` leaves out.

    Raises:
        InputError: for a source that cannot be read, a missing column, what is no label, an empty
            split, training labels that nothing can be learned from, or ``splits_of`` that holds
            no splits.
    """
    config, labels = settings.data, settings.task.labels
    given = {"test": config.test, "validation": config.validation, "train": config.train}
    tally: Counter[str] = Counter()
    seen: dict[Text, Label] = {}
    rows: dict[str, list[LabelledText]] = {}
    for name, reference in given.items():  # test first: what it holds leaves the other splits
        if reference is not None:
            labelled = _read_rows(reference, settings, tally)
            # Sorted, because the order of the rows must not matter.
            rows[name] = _drop_duplicates(sorted(labelled), seen, tally)
    texts_digest = sha256_json(
        [config.labels, sorted(row for part in rows.values() for row in part)]
    )
    parts = hold_out(rows, config, settings.seed, strata=labels.strata)
    names = labels.names(config)
    if reason := labels.check([label for _, label in parts["train"]], names):
        raise InputError(f"The training split {reason}.")
    splits = {name: _as_split(part, labels) for name, part in parts.items() if part}
    for name, split in splits.items():
        write_split(split, out / f"{name}.parquet")
    splits.pop(LEFT_OUT, None)
    return _describe(splits, settings, tally, texts_digest)


def _read_rows(reference: str, settings: DataSettings, tally: Counter[str]) -> list[LabelledText]:
    """Return the filtered rows of one source with their labels."""
    config = settings.data
    table = _load(reference, config)
    _check_columns(reference, table.column_names, config)
    columns = {name: table[name][:] for name in table.column_names}
    kept = [
        row
        for row in range(len(table))
        if all(str(columns[name][row]) == value for name, value in config.filter.items())
    ]
    feature = table.features[config.label]
    own_names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    cells = [_spelled(columns[config.label][row]) for row in kept]
    try:
        labels = settings.task.labels.read(cells, config, own_names)
    except ValueError as error:
        raise InputError(f"{reference}: {error}.") from error
    rows: list[LabelledText] = []
    for row, label in zip(kept, labels, strict=True):
        text = tuple(_spelled(columns[name][row]) for name in config.text_columns)
        if label is not None and all(text):
            rows.append((text, label))
    tally["empty"] += len(kept) - len(rows)
    if not rows:
        raise InputError(
            f"{reference} has no usable row: {len(table)} rows read, {len(kept)} left by "
            f"data.filter {config.filter}. Check the names and values of the filter."
        )
    return rows


def _spelled(value: object) -> str:
    """Return a cell as text; a missing one is empty."""
    return "" if value is None else str(value).strip()


def _check_columns(reference: str, found: list[str], config: DataConfig) -> None:
    expected = (*config.text_columns, config.label, *config.filter)
    missing = [column for column in expected if column not in found]
    if missing:
        raise InputError(
            f"{reference} has no column {', '.join(map(repr, missing))}. Its columns are "
            f"{', '.join(map(repr, found))}: set data.text, data.label and data.filter to these."
        )


def _load(reference: str, config: DataConfig) -> datasets.Dataset:
    """Return the table behind a reference."""
    path = locate(reference)
    try:
        if path is None:
            name, _, split = reference.partition("@")
            return datasets.load_dataset(name, config.subset, split=split or "train")
        if path.suffix not in DATA_SUFFIXES:
            raise InputError(
                f"{reference}: expected a file ending in {', '.join(DATA_SUFFIXES)}, found "
                f"{path.name!r}."
            )
        options = _csv_options(path) if DATA_SUFFIXES[path.suffix] == "csv" else {}
        # A cache of its own: the user's would be asked for by name and date, not by content.
        with tempfile.TemporaryDirectory() as cache:
            return datasets.load_dataset(
                DATA_SUFFIXES[path.suffix],
                data_files=str(path),
                split="train",
                cache_dir=cache,
                keep_in_memory=True,
                **options,
            )
    except InputError:
        raise
    # The readers raise whatever their backend does: Arrow, pandas, HTTP and hub errors alike.
    except Exception as error:
        said = (str(error.__cause__ or error).strip() or type(error).__name__).splitlines()[0]
        if path is not None:
            raise InputError(
                f"Cannot read the file {path}: {said}. Give a readable file of the kind that its "
                f"name says ({', '.join(DATA_SUFFIXES)})."
            ) from error
        raise UnreachableError(
            f"Cannot read the data set {reference!r} from the Hugging Face hub: {said} Check the "
            "id, data.subset, the split after @ and the network, or give a local file."
        ) from error


def _csv_options(path: Path) -> dict[str, Any]:
    """Return what keeps every value of a CSV or TSV file as it is spelled: 01 is not 1."""
    separator = "\t" if path.suffix == ".tsv" else ","
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file, delimiter=separator), [])
    features = datasets.Features({name: datasets.Value("string") for name in header})
    return {"sep": separator, "keep_default_na": False, "features": features}


def _drop_duplicates(
    rows: list[LabelledText], seen: dict[Text, Label], tally: Counter[str]
) -> list[LabelledText]:
    """Return the rows whose text has not been seen, and remember them."""
    fresh: list[LabelledText] = []
    for text, label in rows:
        if text in seen:
            tally["duplicates"] += 1
            tally["conflicts"] += seen[text] != label
        else:
            seen[text] = label
            fresh.append((text, label))
    return fresh


def _as_split(rows: list[LabelledText], labels: Labels) -> Split:
    return Split(
        texts=tuple(text for text, _ in rows),
        labels=np.array([label for _, label in rows], dtype=labels.dtype),
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
