"""Parquet files and data sets of the Hugging Face hub: typed columns.

Only the wanted columns are read. Numbers become their shortest spelling, dictionaries of a column
(pandas' categories) their values.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError, UnreachableError, refusing
from pipeline.texts.cells import Cell, Number
from pipeline.texts.source_table import SourceTable, find_columns

_ADVICE = "Give a whole Parquet file."
_BUFFER_BYTES = 1024**2
"""Bytes that are read at once of a column of a Parquet file that is read in parts."""


def read_parquet(path: Path, wanted: Sequence[str]) -> SourceTable:
    """Return the wanted columns of a Parquet file.

    Raises:
        InputError: for a damaged file, or a missing column.
    """
    names = parquet_names(path)
    found = find_columns(wanted, names, str(path))
    with refusing(f"Cannot read the file {path}", _ADVICE):
        own = {name: names[position] for name, position in found.items()}
        table = pq.ParquetFile(path).read(columns=sorted(set(own.values())))
        return _as_table(str(path), table, own, _own_label_names(table.schema.metadata or {}))


def parquet_parts(path: Path, wanted: Sequence[str], size: int) -> Iterator[SourceTable]:
    """Yield the wanted columns of a Parquet file, so many rows at a time.

    Raises:
        InputError: for a damaged file, or a missing column.
    """
    names = parquet_names(path)
    found = find_columns(wanted, names, str(path))
    own = {name: names[position] for name, position in found.items()}
    first = 0
    with (
        refusing(f"Cannot read the file {path}", _ADVICE),
        pq.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file,
    ):
        for batch in file.iter_batches(size, columns=sorted(set(own.values()))):
            table = pa.Table.from_batches([batch])
            yield _as_table(str(path), table, own, {}, first=first)
            first += len(table)
    if not first:
        raise _without_rows(str(path))


def parquet_names(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns.

    Raises:
        InputError: for a damaged file.
    """
    with refusing(f"Cannot read the file {path}", _ADVICE):
        return list(pq.ParquetFile(path).schema_arrow.names)


def read_hub(reference: str, subset: str | None, wanted: Sequence[str]) -> SourceTable:
    """Return the wanted columns of a data set on the hub, ``owner/name@split``.

    Raises:
        UnreachableError: where the hub does not answer, or has no such data set.
        InputError: for a missing column.
    """
    import datasets

    found = _load_hub(reference, subset)
    own = _own_columns(found, wanted, reference)
    with refusing(f"Cannot read the data set {reference!r}", "Give a local file."):
        table = found.select_columns(sorted(set(own.values()))).with_format("arrow")[:]
        names_of = {
            column: tuple(kind.names)
            for column, feature in found.features.items()
            if isinstance(kind := getattr(feature, "feature", feature), datasets.ClassLabel)
        }
        return _as_table(reference, table, own, names_of)


def hub_parts(
    reference: str, subset: str | None, wanted: Sequence[str], size: int
) -> Iterator[SourceTable]:
    """Yield the wanted columns of a data set on the hub, so many rows at a time.

    Raises:
        UnreachableError: where the hub does not answer, or has no such data set.
        InputError: for a missing column.
    """
    found = _load_hub(reference, subset)
    own = _own_columns(found, wanted, reference)
    first = 0
    with refusing(f"Cannot read the data set {reference!r}", "Give a local file."):
        chosen = found.select_columns(sorted(set(own.values()))).with_format("arrow")
        for table in chosen.iter(size):
            yield _as_table(reference, table, own, {}, first=first)
            first += len(table)
    if not first:
        raise _without_rows(reference)


# Any: datasets has no types.
def _load_hub(reference: str, subset: str | None) -> Any:
    """Return a data set of the hub, whose rows stay on disk."""
    import datasets

    name, _, split = reference.partition("@")
    try:
        return datasets.load_dataset(name, subset, split=split or "train")
    # The readers raise whatever their backend does: Arrow, pandas, HTTP and hub errors alike.
    except Exception as error:
        said = (str(error.__cause__ or error).strip() or type(error).__name__).split("\n")[0]
        raise UnreachableError(
            f"Cannot read the data set {reference!r} from the Hugging Face hub: {said} Check the "
            "id, data.subset, the split after @ and the network, or give a local file."
        ) from error


# Any: as above.
def _own_columns(found: Any, wanted: Sequence[str], reference: str) -> dict[str, str]:
    """Return a data set's own name of each wanted column."""
    names = found.column_names
    return {name: names[at] for name, at in find_columns(wanted, names, reference).items()}


# Any: pyarrow has no types.
def _as_table(
    source: str,
    table: Any,
    own: dict[str, str],
    label_names: dict[str, tuple[str, ...]],
    *,
    first: int = 0,
) -> SourceTable:
    """Return a table whose columns are named as they are wanted."""
    if not len(table):
        raise _without_rows(source)
    return SourceTable(
        source=source,
        columns={name: _cells(table.column(column)) for name, column in own.items()},
        size=len(table),
        first=first,
        label_names={
            name: label_names[column] for name, column in own.items() if column in label_names
        },
    )


def _without_rows(source: str) -> InputError:
    return InputError(f"{source} has columns and no rows. Give a source with rows.")


def _own_label_names(metadata: dict[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Return the names of class indices that ``datasets`` wrote into a file, by column."""
    said = json.loads(metadata.get(b"huggingface", b"{}"))
    features = said.get("info", {}).get("features", {})
    own = {}
    for column, feature in features.items():
        kind = feature.get("feature", feature) if isinstance(feature, dict) else {}  # of a list
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel":
            own[column] = tuple(kind["names"])
    return own


def _cells(column: Any) -> Sequence[Cell]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if _is_number(column.type):
        spelled = pc.cast(column, pa.string()).to_pylist()
        return [None if each is None else Number(spelled=each) for each in spelled]
    values: list[Cell] = column.to_pylist()
    return values


def _is_number(kind: Any) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )
