"""Tags of words in the scheme IOB2, as the sources spell them, and the entities they mark.

``B-person`` begins an entity of the type person, ``I-person`` continues it, and ``O`` is outside of
all. Labels of the config are either all tags, with ``O``, or only the types.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.tasks.class_labels import read_class_labels
from pipeline.tasks.columns import (
    LABEL,
    TEXT,
    Column,
    Given,
    Proposal,
    UnfitError,
    choose,
    find_label,
    in_order,
    named,
    without,
)
from pipeline.tasks.task import LabelColumn
from pipeline.texts.cells import Cell, Label, read_texts_of
from pipeline.texts.nested import read_nested

OUTSIDE, BEGIN, INSIDE = "O", "B-", "I-"

Entity = tuple[int, int, int]
"""An entity as its first word, the word behind its last, and the number of its type."""


def tag_names(config: DataConfig) -> tuple[str, ...]:
    """Return the tags in the order of a model's outputs: O, then B- and I- of each type.

    Raises:
        ValueError: for labels that are neither types nor all tags in this order.
    """
    labels = config.labels
    if OUTSIDE not in labels and not entity_types(labels):
        return (OUTSIDE, *(tag for name in labels for tag in (BEGIN + name, INSIDE + name)))
    expected = [tag for name in entity_types(labels) for tag in (BEGIN + name, INSIDE + name)]
    if labels != (OUTSIDE, *expected):
        raise ValueError(
            f"data.labels names {list(labels)}, expected the types of entities alone, or all their "
            f"tags in this order: {[OUTSIDE, *expected]}"
        )
    return labels


def entity_types(tags: Sequence[str]) -> tuple[str, ...]:
    """Return the types of entities among the tags, in order."""
    return tuple(dict.fromkeys(tag[2:] for tag in tags if tag.startswith((BEGIN, INSIDE))))


def read_tags(columns: Sequence[LabelColumn], config: DataConfig) -> list[list[Label | None]]:
    """Return the tags of the words of every cell of every source; None for an empty cell.

    Raises:
        ValueError: for cells that are no lists of tags, or tags that are no IOB2.
    """
    names = tag_names(config)
    lists = [[_as_tags(column, row) for row in range(len(column.cells))] for column in columns]
    flat = [
        _flattened(column, cells, are_indices=config.labels == names)
        for column, cells in zip(columns, lists, strict=True)
    ]
    found = read_class_labels(flat, config.model_copy(update={"labels": names}))
    return [
        _gathered(column, cells, labels, names)
        for column, cells, labels in zip(columns, lists, found, strict=True)
    ]


def propose_tags(columns: Sequence[Column], given: Given) -> Proposal:
    """Return how to read a table for tags of words.

    Raises:
        UnfitError: where the columns are not certain.
    """
    if len(given.text) > 1:
        raise UnfitError(f"Expected one text column, found --text {len(given.text)} times.")
    assumed: tuple[str, ...] = ()
    if given.text:
        words = named(columns, given.text[0], TEXT)
    else:
        role = replace(TEXT, usual="tokens")
        fitting = [each for each in columns if _are_words(each) and each.name not in given.label]
        tagged = [each for each in fitting if not _spelled_tags(each)]
        words, assumed = choose(role, columns, tagged, "lists of words, or a CoNLL file")
    label, more = find_label(
        without(columns, (words.name,)),
        given,
        lambda each: bool(each.own_names or _spelled_tags(each)) and _is_as_long(each, words),
        "lists of as many tags as words, such as O, B-person and I-person",
        replace(LABEL, usual="tags"),
    )
    types = entity_types(label.own_names or _spelled_tags(label) or ())
    if not types:
        raise UnfitError(
            f"The column {label.name!r} holds no tags such as O, B-person and I-person. Write the "
            "tags' names in place of indices, or name another column with --label."
        )
    labels = label.own_names or in_order(types)
    return Proposal(
        text=(words.name,), label=(label.name,), labels=labels, assumed=(*assumed, *more)
    )


def _are_words(column: Column) -> bool:
    lists = column.lists
    return bool(lists) and all(isinstance(each, str) for row in lists or () for each in row)


def _spelled_tags(column: Column) -> tuple[str, ...] | None:
    """Return the tags of a column of lists of tags; None for other cells."""
    if not _are_words(column):
        return None
    tags = {str(each) for row in column.lists or () for each in row}
    is_iob2 = all(tag == OUTSIDE or tag.startswith((BEGIN, INSIDE)) for tag in tags)
    return tuple(sorted(tags)) if is_iob2 and entity_types(tuple(tags)) else None


def _is_as_long(tags: Column, words: Column) -> bool:
    return list(map(len, tags.lists or ())) == list(map(len, words.lists or ()))


def _as_tags(column: LabelColumn, row: int) -> list[str] | None:
    cell = column.cells[row]
    tags = read_nested(cell) if cell else None
    if tags is not None and not isinstance(tags, list):
        raise ValueError(
            f"{column.source}, {column.place(row)} holds {cell[:60]!r}, expected a list of tags, "
            "one for each word. Give lists, as in a JSONL or Parquet file, or a CoNLL file"
        )
    return None if tags is None else [str(tag) for tag in tags]


def _flattened(
    column: LabelColumn, cells: Sequence[list[str] | None], *, are_indices: bool
) -> LabelColumn:
    """Return all tags of a column, one after another."""
    rows = [row for row, tags in enumerate(cells) for _ in tags or ()]
    flat = [tag for tags in cells for tag in tags or ()]
    numbers = [tag for tag in flat if tag.isdigit()]
    if numbers and column.own_names is None and not are_indices:
        raise ValueError(
            f"{column.source} holds the indices {numbers[0]}, ... as tags, and data.labels names "
            "the types alone. Give all tags as data.labels, in the order of the indices"
        )
    return replace(column, cells=flat, place=lambda at: column.place(rows[at]))


def _gathered(
    column: LabelColumn,
    cells: Sequence[list[str] | None],
    labels: Sequence[Label | None],
    names: Sequence[str],
) -> list[Label | None]:
    gathered: list[Label | None] = []
    start = 0
    for row, tags in enumerate(cells):
        own = labels[start : start + len(tags or ())]
        start += len(own)
        indices = tuple(label for label in own if isinstance(label, int))
        if len(indices) < len(own):
            raise ValueError(f"{column.source}, {column.place(row)} holds an empty tag. Name it")
        spelled = [names[index] for index in indices]
        if (wrong := _not_iob2(spelled)) is not None:
            before = repr(spelled[wrong - 1]) if wrong else "nothing"
            raise ValueError(
                f"{column.source}, {column.place(row)}: the tags are not IOB2. {spelled[wrong]!r} "
                f"of word {wrong + 1} follows {before}. Begin every entity with B-"
            )
        gathered.append(None if tags is None else indices)
    return gathered


def _not_iob2(tags: Sequence[str]) -> int | None:
    """Return the first word whose I- continues no entity."""
    for word, tag in enumerate(tags):
        if tag.startswith(INSIDE):
            before = tags[word - 1] if word else OUTSIDE
            if before not in (BEGIN + tag[2:], tag):
                return word
    return None


def find_entities(tags: Iterable[int]) -> list[Entity]:
    """Return the entities of a sequence of tags, by index.

    The reading is strict: only B- begins an entity, and the I- of another type ends it.
    """
    entities: list[Entity] = []
    start, inside = 0, 0  # the open entity's first word, and the tag that continues it
    word = -1
    for word, tag in enumerate(tags):
        if inside and tag != inside:
            entities.append((start, word, inside // 2 - 1))
            inside = 0
        if tag % 2:  # B-
            start, inside = word, tag + 1
    if inside:
        entities.append((start, word + 1, inside // 2 - 1))
    return entities


def join_words(
    name: str, cells: Sequence[Cell], source: str, place: Callable[[int], str]
) -> list[str]:
    """Return lists of words as texts, joined by single spaces; a missing list is empty.

    Raises:
        InputError: for a cell that is no list of words, or a word that is empty or has a space.
    """
    texts = []
    for row, cell in enumerate(map(read_nested, cells)):
        if cell not in (None, "") and not isinstance(cell, list | tuple):
            raise InputError(
                f"{source}: the column {name!r} holds {str(cell)[:60]!r} in {place(row)}, expected "
                "a list of words. Give lists, as in a JSONL or Parquet file, or a CoNLL file."
            )
        words = read_texts_of(name, cell or (), source, partial(_place_of_row, place(row)))
        odd = [word for word in words if not word or " " in word]
        if odd:
            raise InputError(
                f"{source}: the column {name!r} holds the word {odd[0]!r} in {place(row)}. A word "
                "is not empty, and has no space. Write another character for the space."
            )
        texts.append(" ".join(words))
    return texts


def _place_of_row(place: str, word: int) -> str:
    return f"{place}, word {word + 1}"


def unlike_length(text: Sequence[str], label: Label) -> str | None:
    """Return a message where the numbers of tags and words differ; None where they agree."""
    words = len(text[0].split(" "))
    if isinstance(label, tuple) and len(label) == words:
        return None
    count = len(label) if isinstance(label, tuple) else 1
    return f"expected a tag for each word, found {count} tags for {words} words. Correct the row"
