"""Stage unlabelled: further texts without labels, for absorption and distillation.

A text that a split holds is left out, so that the validation and test splits stay unseen; one that
occurs twice is kept once.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from pipeline.errors import InputError
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.store.stage import Stage
from pipeline.texts.tables import Text, read_split
from pipeline.texts.unlabelled import UnlabelledWriter, read_unlabelled_source
from pipeline.workers.bars import hides_bars


@dataclass(frozen=True, kw_only=True, slots=True)
class UnlabelledSettings:
    """What shapes the unlabelled texts, beside the splits."""

    sources: tuple[str, ...]
    """Files, and data sets of the hub."""
    digests: tuple[str, ...]
    """Of each source's content."""
    columns: tuple[str, ...]
    """Names of the text columns."""
    subset: str | None
    """Configuration name of a hub data set."""
    most: int | None
    """At most this many texts; None takes all."""


def collect_unlabelled(
    data: Stage[DataFacts], settings: UnlabelledSettings, out: Path
) -> UnlabelledFacts:
    """Write the texts of all sources to ``out``, in their order.

    Raises:
        InputError: for a source that cannot be read for certain, or when no text is left.
    """
    names = data.facts.sizes
    seen = {_digest(text) for name in names for text in read_split(data.folder, name).texts}
    writer = UnlabelledWriter(out, len(settings.columns))
    kept = known = 0
    try:
        for texts in _read(settings):
            fresh = []
            for text in texts:
                digest = _digest(text)
                known += digest in seen
                if digest not in seen and (settings.most is None or kept < settings.most):
                    seen.add(digest)
                    fresh.append(text)
                    kept += 1
            writer.write(fresh)
            if kept == settings.most:
                break
    finally:
        writer.close()
    if not kept:
        raise InputError(
            f"data.unlabelled: {', '.join(settings.sources)} hold no text that is not in a split "
            "already. Give others, or leave it out."
        )
    return UnlabelledFacts(texts=kept, known=known)


def _read(settings: UnlabelledSettings) -> Iterator[list[Text]]:
    """Yield the texts of each source."""
    for source in tqdm(
        settings.sources, "reading texts", unit="file", leave=False, disable=hides_bars()
    ):
        yield read_unlabelled_source(source, settings.columns, subset=settings.subset)


def _digest(text: Text) -> bytes:
    """Return what stands for a text in memory: 16 bytes, however long it is."""
    return hashlib.blake2b("\0".join(text).encode(), digest_size=16).digest()
