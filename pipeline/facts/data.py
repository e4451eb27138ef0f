"""Facts of the stage data."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFacts:
    """What the splits hold."""

    digest: str
    """sha256 over texts, labels and label names of all three splits."""
    texts_digest: str
    """The same of what the sources hold, however it is split."""
    labels: tuple[str, ...]
    """Label names in class order."""
    text_columns: tuple[str, ...]
    sizes: dict[str, int]
    """Number of texts by split."""
    label_counts: dict[str, dict[str, int]]
    """Number of texts by split and label, or by range of labels that are numbers."""
    dropped_duplicates: int
    """Rows left out because their text had been seen before."""
    conflicting_labels: int
    """Those of them whose label differed from the first one's."""
    dropped_empty: int
    """Rows left out because their text or label was empty."""
