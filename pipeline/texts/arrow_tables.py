"""Parquet files and data sets of the Hugging Face hub: typed columns.

Only the wanted columns are read. Numbers become their shortest spelling, dictionaries of a column
(pandas' categories) their values.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError, UnreachableError, refusing
from pipeline.texts.cells import Cell, Number
from pipeline.texts.source_table import SourceTable, find_columns

_ADVICE = "Give a whole Parquet file."


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

    name, _, split = reference.partition("@")
    try:
        found = datasets.load_dataset(name, subset, split=split or "train")
    # The readers raise whatever their backend does: Arrow, pandas, HTTP and hub errors alike.
    except Exception as error:
        said = (str(error.__cause__ or error).strip() or type(error).__name__).split("\n")[0]
        raise UnreachableError(
            f"Cannot read the data set {reference!r} from the Hugging Face hub: {said} Check the "
            "id, data.subset, the split after @ and the network, or give a local file."
        ) from error
    names = found.column_names
    own = {name: names[at] for name, at in find_columns(wanted, names, reference).items()}
    with refusing(f"Cannot read the data set {reference!r}", "Give a local file."):
        table = found.select_columns(sorted(set(own.values()))).with_format("arrow")[:]
        names_of = {
            column: tuple(kind.names)
            for column, feature in found.features.items()
            if isinstance(kind := getattr(feature, "feature", feature), datasets.ClassLabel)
        }
        return _as_table(reference, table, own, names_of)


# Any: pyarrow has no types.
def _as_table(
    source: str, table: Any, own: dict[str, str], label_names: dict[str, tuple[str, ...]]
) -> SourceTable:
    """Return a table whose columns are named as they are wanted."""
    if not len(table):
        raise InputError(f"{source} has columns and no rows. Give a source with rows.")
    return SourceTable(
        source=source,
        columns={name: _cells(table.column(column)) for name, column in own.items()},
        size=len(table),
        label_names={
            name: label_names[column] for name, column in own.items() if column in label_names
        },
    )


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
