"""Texts without labels: sources of any number, kind and size, and the file that stages read.

A source is a table with the text columns, a text file (one text per line) or a data set of the
hub. It may be a pattern or a folder of files of one kind. Texts pass through memory in parts, and
stages map the file that they are written to.

Shapes: N = texts.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.store.places import DATA_SUFFIXES, PACKAGE_SCHEME, locate
from pipeline.texts.cells import MISSING_LABEL, read_texts_of
from pipeline.texts.line_tables import LINES
from pipeline.texts.lines import in_parts, kind_of, numbered_lines
from pipeline.texts.mapped import StoredTexts, TableWriter, map_table, store_texts
from pipeline.texts.reading import read_parts
from pipeline.texts.tables import Text, read_split

_KINDS = (*DATA_SUFFIXES, LINES)
"""Ends of the names of files that can be read."""
_PATTERN = "*?["
"""Characters that make a path a pattern."""
_FILE = "unlabelled.arrow"
ROWS_AT_ONCE = 10_000
"""Rows that are read at once."""


def expand_sources(references: Sequence[str]) -> list[str]:
    """Return the files that references stand for, in a fixed order; ids of the hub stay.

    Files whose names begin with a point or an underscore are left out.

    Raises:
        InputError: for a pattern or a folder without files, or with files of unknown or several
            kinds.
    """
    return [source for reference in references for source in _expand(reference)]


def _expand(reference: str) -> list[str]:
    if not reference.startswith(PACKAGE_SCHEME) and any(mark in reference for mark in _PATTERN):
        path = Path(reference).expanduser()
        root = Path(path.anchor or ".")
        found = root.glob(str(path.relative_to(path.anchor)))
        return _readable((each for each in found if not _is_hidden(each.name)), reference)
    folder = locate(reference)
    if folder is not None and folder.is_dir():
        found = (
            each
            for each in folder.rglob("*")
            if not any(map(_is_hidden, each.relative_to(folder).parts))
        )
        return _readable(found, reference)
    return [reference]


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _readable(paths: Iterable[Path], reference: str) -> list[str]:
    """Return the files among some paths, sorted, which must be of one kind."""
    found = sorted(str(path) for path in paths if path.is_file())
    if not found:
        raise InputError(
            f"data.unlabelled: {reference} holds no file (looked in {Path.cwd()}). Give a path or "
            "a pattern of existing files."
        )
    first_of = {kind_of(Path(path)): path for path in reversed(found)}
    if unknown := [path for kind, path in first_of.items() if kind not in _KINDS]:
        raise InputError(
            f"data.unlabelled: {reference} holds {min(unknown)}, expected files ending in "
            f"{', '.join(_KINDS)}. Give a pattern that leaves it out, such as texts/*.jsonl."
        )
    if len(first_of) > 1:
        raise InputError(
            f"data.unlabelled: {reference} holds files of several kinds, such as "
            f"{' and '.join(sorted(first_of.values()))}, so that texts may be there twice. Give "
            "a pattern for each kind that is meant."
        )
    return found


def read_unlabelled_source(
    source: str, columns: Sequence[str], *, subset: str | None = None, size: int = ROWS_AT_ONCE
) -> Iterator[list[Text]]:
    """Yield the texts of one source in parts, in its order; rows without any text are left out.

    Raises:
        InputError: for a source that cannot be read for certain, lacks a text column, or holds no
            text.
        UnreachableError: where the hub does not answer.
    """
    path = locate(source)
    is_empty = True
    is_text = path is not None and kind_of(path) == LINES
    for texts in (
        _lines_of(source, columns, size) if is_text else _rows_of(source, columns, subset, size)
    ):
        is_empty = is_empty and not texts
        yield texts
    if is_empty:
        raise InputError(f"data.unlabelled: {source} holds no text. Leave it out.")


def _lines_of(source: str, columns: Sequence[str], size: int) -> Iterator[list[Text]]:
    """Yield the lines of a text file that are not blank."""
    if len(columns) > 1:
        raise InputError(
            f"data.unlabelled: {source} has one text per line, and this run reads pairs. Give a "
            f"table with the columns {' and '.join(columns)}."
        )
    path = locate(source)
    lines = (line.removesuffix("\r") for _, line in numbered_lines(path)) if path else ()
    texts: Iterator[Text] = ((line,) for line in lines if line.strip())
    yield from in_parts(texts, size)


def _rows_of(
    source: str, columns: Sequence[str], subset: str | None, size: int
) -> Iterator[list[Text]]:
    """Yield the rows of a table that have all texts."""
    for table in read_parts(source, columns, subset=subset, size=size):
        cells = [
            read_texts_of(name, table.columns[name], table.source, table.place) for name in columns
        ]
        yield [text for text in zip(*cells, strict=True) if all(text)]


def unlabelled_writer(folder: Path) -> TableWriter:
    """Return what writes tables of texts to the file that stages read."""
    return TableWriter(folder / _FILE)


def read_unlabelled(folder: Path, size: int | None = None) -> StoredTexts:
    """Return the first unlabelled texts of a folder; all of them for None."""
    return StoredTexts(map_table(folder / _FILE))[:size]


def read_transfer_texts(data: Path, unlabelled: Path | None, size: int | None) -> StoredTexts:
    """Return the training texts and then the unlabelled ones, ``size`` of them; None for all.

    Args:
        data: Folder of the splits.
        unlabelled: Folder of the unlabelled texts; None where there are none.
        size: At most this many.
    """
    texts = store_texts(read_split(data, "train").head(size).texts)
    if unlabelled is None:
        return texts
    return texts.and_then(read_unlabelled(unlabelled))[:size]


def empty_labels(texts: Sequence[Text], like: np.ndarray, *, per_word: bool) -> np.ndarray:
    """Return labels that mean nothing, for texts that have none, (N, ...).

    Args:
        texts: Those texts.
        like: Labels of others.
        per_word: Whether each word has a label; those of these texts say that they have none.
    """
    if not per_word:
        return np.zeros((len(texts), *like.shape[1:]), dtype=like.dtype)
    words = max((len(text.split(" ")) for (text,) in texts), default=1)
    return np.full((len(texts), words), MISSING_LABEL, dtype=like.dtype)
