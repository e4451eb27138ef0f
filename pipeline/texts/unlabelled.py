"""Texts without labels: sources of any number and kind, and the table that stages read of them.

A source is a table with the text columns, a text file (one text per line) or a data set of the
hub. It may be a pattern or a folder of files. Each is read on its own, so memory holds one at a
time.

Shapes: N = texts.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, refusing
from pipeline.store.places import DATA_SUFFIXES, PACKAGE_SCHEME, locate
from pipeline.texts.cells import MISSING_LABEL, read_texts_of
from pipeline.texts.reading import read_source
from pipeline.texts.tables import Split, Text, read_split
from pipeline.texts.text_files import cut_texts

_TEXT_SUFFIX = ".txt"
_PATTERN = "*?["
"""Characters that make a path a pattern."""
_FILE = "unlabelled.parquet"
_ROWS = 10_000
"""Texts of one group of rows on disk."""


def expand_sources(references: Sequence[str]) -> list[str]:
    """Return the files that references stand for, in a fixed order; ids of the hub stay.

    Raises:
        InputError: for a pattern or a folder without a file that can be read.
    """
    return [source for reference in references for source in _expand(reference)]


def _expand(reference: str) -> list[str]:
    if not reference.startswith(PACKAGE_SCHEME) and any(mark in reference for mark in _PATTERN):
        path = Path(reference).expanduser()
        root = Path(path.anchor or ".")
        return _readable(root.glob(str(path.relative_to(path.anchor))), reference)
    folder = locate(reference)
    if folder is not None and folder.is_dir():
        return _readable(folder.rglob("*"), reference)
    return [reference]


def _readable(paths: Iterator[Path], reference: str) -> list[str]:
    suffixes = (*DATA_SUFFIXES, _TEXT_SUFFIX)
    found = sorted(str(path) for path in paths if path.is_file() and path.suffix in suffixes)
    if not found:
        raise InputError(
            f"data.unlabelled: {reference} holds no file ending in {', '.join(suffixes)} (looked "
            f"in {Path.cwd()}). Give a path or a pattern of existing files."
        )
    return found


def read_unlabelled_source(
    source: str, columns: Sequence[str], *, subset: str | None = None
) -> list[Text]:
    """Return the texts of one source, in its order; those without any text are left out.

    Raises:
        InputError: for a source that cannot be read for certain, or lacks a text column.
        UnreachableError: where the hub does not answer.
    """
    path = locate(source)
    if path is not None and path.suffix.lower() == _TEXT_SUFFIX:
        if len(columns) > 1:
            raise InputError(
                f"data.unlabelled: {source} has one text a line, and this run reads pairs. Give a "
                f"table with the columns {' and '.join(columns)}."
            )
        with refusing(f"Cannot read {source}", "Convert it to UTF-8."):
            content = path.read_text(encoding="utf-8-sig")
        return cut_texts(content, source, "text")
    table = read_source(source, columns, label=columns[0], subset=subset)
    cells = [
        read_texts_of(name, table.columns[name], table.source, table.place) for name in columns
    ]
    return [text for text in zip(*cells, strict=True) if all(text)]


class UnlabelledWriter:
    """Writes texts to a folder in parts, as one table with the columns ``text`` and ``text_b``."""

    def __init__(self, folder: Path, columns: int) -> None:
        self.names = ["text", "text_b"][:columns]
        schema = pa.schema([(name, pa.string()) for name in self.names])
        self.writer = pq.ParquetWriter(folder / _FILE, schema)

    def write(self, texts: Sequence[Text]) -> None:
        """Append texts."""
        for start in range(0, len(texts), _ROWS):
            parts = zip(*texts[start : start + _ROWS], strict=True)
            columns = dict(zip(self.names, map(list, parts), strict=True))
            self.writer.write_table(pa.table(columns, schema=self.writer.schema))

    def close(self) -> None:
        """End the file."""
        self.writer.close()


def read_unlabelled(folder: Path, size: int | None = None) -> tuple[Text, ...]:
    """Return the first texts of a folder that `UnlabelledWriter` wrote to; all of them for None."""
    found: list[Text] = []
    with pq.ParquetFile(folder / _FILE) as table:
        for batch in table.iter_batches(_ROWS):
            if size is not None and len(found) >= size:
                break
            found += zip(*(column.to_pylist() for column in batch.columns), strict=True)
    return tuple(found[:size])


def read_transfer_texts(data: Path, unlabelled: Path | None, size: int | None) -> tuple[Text, ...]:
    """Return the training texts and then the unlabelled ones, ``size`` of them; None for all.

    Args:
        data: Folder of the splits.
        unlabelled: Folder that `UnlabelledWriter` wrote to; None where there is none.
        size: At most this many.
    """
    texts = read_split(data, "train").head(size).texts
    if unlabelled is None:
        return texts
    return texts + read_unlabelled(unlabelled, None if size is None else size - len(texts))


def add_unlabelled(split: Split, texts: Sequence[Text], *, per_word: bool) -> Split:
    """Return a split with more texts, whose labels mean nothing.

    Args:
        split: Labelled texts.
        texts: What is added.
        per_word: Whether each word has a label; those of the added texts say that they have none.
    """
    labels = split.labels
    shape = labels.shape[1:]
    if per_word:
        width = max([*shape, *(len(text.split(" ")) for (text,) in texts)])
        missing = ((0, 0), (0, width - labels.shape[1]))
        labels, shape = np.pad(labels, missing, constant_values=MISSING_LABEL), (width,)
    added = np.full((len(texts), *shape), MISSING_LABEL if per_word else 0, dtype=labels.dtype)
    return Split(texts=(*split.texts, *texts), labels=np.concatenate([labels, added]))
