"""A source as a table of typed cells: CSV, TSV, JSON, Parquet, CoNLL, text, or of the hub."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.store.places import DATA_SUFFIXES, locate
from pipeline.texts.arrow_tables import (
    hub_parts,
    parquet_names,
    parquet_parts,
    read_hub,
    read_parquet,
)
from pipeline.texts.conll_files import TAGS, WORDS, read_conll
from pipeline.texts.delimited import delimited_names, read_delimited
from pipeline.texts.json_tables import json_names, json_parts, read_json_table
from pipeline.texts.line_tables import LINES, TEXTS, read_lines
from pipeline.texts.lines import kind_of
from pipeline.texts.source_table import SourceTable

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_source(
    reference: str,
    wanted: Sequence[str],
    *,
    label: str,
    labels: Collection[str] = (),
    subset: str | None = None,
) -> SourceTable:
    """Return the wanted columns behind a reference.

    Args:
        reference: A path, ``package://name/path``, or ``owner/name@split`` on the hub.
        wanted: Names of columns, ``label`` among them.
        label: Name of the label column.
        labels: Known labels.
        subset: Configuration name of a hub data set.

    Raises:
        InputError: for a source that cannot be read for certain, or that lacks a column.
        UnreachableError: where the hub does not answer.
    """
    path = locate(reference)
    if path is None:
        return read_hub(reference, subset, wanted)
    suffix = _suffix_of(path, reference)
    if suffix in _DELIMITERS:
        expected = _DELIMITERS[suffix]
        return read_delimited(path, wanted, label=label, labels=labels, delimiter=expected)
    if suffix == ".parquet":
        return read_parquet(path, wanted)
    if suffix == ".conll":
        return read_conll(path, wanted)
    if suffix == LINES:
        return read_lines(path, wanted)
    return read_json_table(path, wanted)


def read_parts(
    reference: str, wanted: Sequence[str], *, subset: str | None = None, size: int
) -> Iterator[SourceTable]:
    """Yield the wanted columns behind a reference, so many rows at a time.

    Parquet, JSON Lines and data sets of the hub are never in memory as a whole. Any other file is
    one part, because what its rows mean is certain only at its end.

    Raises:
        InputError: for a source that cannot be read for certain, or that lacks a column.
        UnreachableError: where the hub does not answer.
    """
    path = locate(reference)
    if path is None:
        yield from hub_parts(reference, subset, wanted, size)
    elif kind_of(path) == ".jsonl":
        yield from json_parts(path, wanted, size)
    elif kind_of(path) == ".parquet":
        yield from parquet_parts(path, wanted, size)
    else:
        yield read_source(reference, wanted, label=wanted[0])


def read_whole(reference: str) -> SourceTable:
    """Return all named columns of a file, as they are.

    A file with quoted fields of several lines is certain only once its label column is known. Read
    the used columns with `read_source`.

    Raises:
        InputError: for a source that is no file, or cannot be read for certain.
    """
    path = locate(reference)
    if path is None:
        raise InputError(
            f"{reference} is no file here. Give the path of a file, or package://name/path."
        )
    suffix = _suffix_of(path, reference)
    if suffix in _DELIMITERS:
        names = delimited_names(path, delimiter=_DELIMITERS[suffix])
    elif suffix == ".parquet":
        names = parquet_names(path)
    elif suffix == LINES:
        names = [TEXTS]
    else:
        names = [WORDS, TAGS] if suffix == ".conll" else json_names(path)
    # An index column of a data frame has no name.
    wanted = [name for name in dict.fromkeys(each.strip() for each in names) if name]
    return read_source(reference, wanted, label="")


def _suffix_of(path: Path, reference: str) -> str:
    suffix = path.suffix.lower()
    if suffix not in (*DATA_SUFFIXES, LINES):
        raise InputError(
            f"{reference}: expected a file ending in {', '.join((*DATA_SUFFIXES, LINES))}, found "
            f"{path.name!r}."
        )
    return suffix
