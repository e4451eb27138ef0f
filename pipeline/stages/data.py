"""Stage data: texts, labels, three disjoint splits and the digest of it all.

The readers are those of ``datasets``. A text that occurs twice is kept once, and one that the test
split (or then the validation split) holds is taken out of the others, so no text stands in two.
"""

import csv
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from pipeline.config import DataConfig
from pipeline.errors import InputError, UnreachableError
from pipeline.facts.data import DataFacts
from pipeline.store.digests import sha256_json
from pipeline.texts.sources import DATA_SUFFIXES, locate
from pipeline.texts.splits import LEFT_OUT, Row, hold_out
from pipeline.texts.tables import Split, Text, write_split


def prepare_data(config: DataConfig, out: Path, *, seed: int) -> DataFacts:
    """Read the data, split it and write ``train``, ``validation`` and ``test`` to ``out``.

    Beside them stand the training texts that ``train_size`` leaves out.

    Raises:
        InputError: for a source that cannot be read, a missing column, a label that is not in
            the list, an empty split, a training split of one class only, or ``splits_of`` that
            holds no splits.
    """
    given = {"test": config.test, "validation": config.validation, "train": config.train}
    tally: Counter[str] = Counter()
    seen: dict[Text, int] = {}
    rows: dict[str, list[Row]] = {}
    for name, reference in given.items():  # test first: what it holds leaves the other splits
        if reference is not None:
            labelled = _read_rows(reference, config, tally)
            # Sorted, because the order of the rows must not matter.
            rows[name] = _drop_duplicates(sorted(labelled), seen, tally)
    texts_digest = sha256_json(
        [config.labels, sorted(row for part in rows.values() for row in part)]
    )
    splits = {name: _as_split(part) for name, part in hold_out(rows, config, seed).items() if part}
    for name, split in splits.items():
        write_split(split, out / f"{name}.parquet")
    splits.pop(LEFT_OUT, None)
    return _describe(splits, config, tally, texts_digest)


def _read_rows(reference: str, config: DataConfig, tally: Counter[str]) -> list[Row]:
    """Return the filtered rows of one source with their class indices."""
    table = _load(reference, config)
    _check_columns(reference, table.column_names, config)
    columns = {name: table[name][:] for name in table.column_names}
    kept = [
        row
        for row in range(len(table))
        if all(str(columns[name][row]) == value for name, value in config.filter.items())
    ]
    names = _class_names(table, config)
    labels = [_spelled(columns[config.label][row]) for row in kept]
    unknown = sorted({label for label in labels if label and label not in names})
    if unknown:
        raise InputError(
            f"{reference}: the column {config.label!r} holds {', '.join(map(repr, unknown[:10]))}, "
            f"which is not in data.labels {list(config.labels)}. Add the label, or filter its rows "
            "out."
        )
    rows: list[Row] = []
    for row, label in zip(kept, labels, strict=True):
        text = tuple(_spelled(columns[name][row]) for name in config.text_columns)
        if label and all(text):
            rows.append((text, names[label]))
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


def _class_names(table: datasets.Dataset, config: DataConfig) -> dict[str, int]:
    """Return the class index of every accepted spelling of a label: its name, or its index.

    A hub data set with its own label names is matched by name, never by position: its index i
    means its own i-th name.
    """
    by_name = {name: index for index, name in enumerate(config.labels)}
    feature = table.features[config.label]
    own_names = feature.names if isinstance(feature, datasets.ClassLabel) else config.labels
    by_index = {str(i): by_name[name] for i, name in enumerate(own_names) if name in by_name}
    return by_index | by_name


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


def _drop_duplicates(rows: list[Row], seen: dict[Text, int], tally: Counter[str]) -> list[Row]:
    """Return the rows whose text has not been seen, and remember them."""
    fresh: list[Row] = []
    for text, label in rows:
        if text in seen:
            tally["duplicates"] += 1
            tally["conflicts"] += seen[text] != label
        else:
            seen[text] = label
            fresh.append((text, label))
    return fresh


def _as_split(rows: list[Row]) -> Split:
    return Split(
        texts=tuple(text for text, _ in rows),
        labels=np.array([label for _, label in rows], dtype=np.int64),
    )


def _describe(
    splits: dict[str, Split], config: DataConfig, tally: Counter[str], texts_digest: str
) -> DataFacts:
    content = {
        name: [[text, int(label)] for text, label in zip(split.texts, split.labels, strict=True)]
        for name, split in splits.items()
    }
    counts = {
        name: {
            label: int((split.labels == index).sum()) for index, label in enumerate(config.labels)
        }
        for name, split in splits.items()
    }
    return DataFacts(
        digest=sha256_json([config.labels, content]),
        texts_digest=texts_digest,
        labels=config.labels,
        text_columns=config.text_columns,
        sizes={name: len(split) for name, split in splits.items()},
        label_counts=counts,
        dropped_duplicates=tally["duplicates"],
        conflicting_labels=tally["conflicts"],
        dropped_empty=tally["empty"],
    )
