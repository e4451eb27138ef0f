"""Stage unlabelled: further texts without labels, for absorption and distillation.

A text of a split is left out, so that the validation and test splits stay unseen. A text that
occurs twice is kept once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from pipeline.errors import InputError
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.store.stage import Stage
from pipeline.texts.mapped import text_table
from pipeline.texts.seen import SeenTexts
from pipeline.texts.tables import Text, read_split
from pipeline.texts.unlabelled import ROWS_AT_ONCE, read_unlabelled_source, unlabelled_writer
from pipeline.workers.bars import hides_bars


@dataclass(frozen=True, kw_only=True, slots=True)
class UnlabelledSettings:
    """Settings that shape the unlabelled texts, beside the splits."""

    sources: tuple[str, ...]
    """Sources of the texts: files, and data sets of the hub."""
    digests: tuple[str, ...]
    """Digest of each source's content."""
    columns: tuple[str, ...]
    """Names of the text columns."""
    subset: str | None
    """Configuration name of a hub data set."""
    most: int | None
    """Largest number of texts; None takes all."""
    part: int = ROWS_AT_ONCE
    """Number of rows that are read at once."""


def collect_unlabelled(
    data: Stage[DataFacts], settings: UnlabelledSettings, out: Path
) -> UnlabelledFacts:
    """Write the texts of all sources to ``out``, in their order.

    Raises:
        InputError: for a source that cannot be read for certain, or when no text is left.
    """
    seen, columns = SeenTexts(), len(settings.columns)
    for name in data.facts.sizes:
        seen.add(read_split(data.folder, name).texts)
    kept = known = 0
    with unlabelled_writer(out) as writer:
        for texts in _read(settings):
            is_fresh = seen.add(texts)
            known += len(texts) - int(is_fresh.sum())
            fresh = [text for text, is_new in zip(texts, is_fresh, strict=True) if is_new]
            fresh = fresh[: None if settings.most is None else settings.most - kept]
            writer.write(text_table(fresh, columns))
            kept += len(fresh)
            if kept == settings.most:
                break
    if not kept:
        raise InputError(
            f"data.unlabelled: {', '.join(settings.sources)} hold no text that is not in a split "
            "already. Give others, or leave it out."
        )
    return UnlabelledFacts(texts=kept, known=known)


def _read(settings: UnlabelledSettings) -> Iterator[list[Text]]:
    """Yield the texts of each source, in parts."""
    for source in tqdm(
        settings.sources, "reading texts", unit="file", leave=False, disable=hides_bars()
    ):
        yield from read_unlabelled_source(
            source, settings.columns, subset=settings.subset, size=settings.part
        )
