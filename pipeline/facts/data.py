"""Facts of the stage data."""

from dataclasses import dataclass

_ORDER = ("train", "validation", "test")
_NAMED = 10
"""Small classes that are named."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFacts:
    """Contents of the splits."""

    digest: str
    """sha256 over texts, labels and label names of all three splits."""
    texts_digest: str
    """sha256 over texts, labels and label names of the sources, however they are split."""
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
    """Dropped duplicates whose label differed from that of the first row."""
    dropped_empty: int
    """Rows left out because their text or label was empty."""

    def said(self) -> tuple[str, ...]:
        """Return what a person wants to know of the splits, in lines."""
        ordered = sorted(self.sizes.items(), key=lambda each: _ORDER.index(each[0]))
        sizes = ", ".join(f"{size:,} {name}" for name, size in ordered)
        dropped = [
            f"{self.dropped_duplicates:,} duplicates ({self.conflicting_labels:,} of them with "
            "another label than the first)",
            f"{self.dropped_empty:,} without text or label",
        ]
        counts = (self.dropped_duplicates, self.dropped_empty)
        named = [line for line, count in zip(dropped, counts, strict=True) if count]
        lines = [f"data: {sizes}; dropped: {', '.join(named) or 'nothing'}"]
        return (*lines, *self._said_of_small_classes())

    def _said_of_small_classes(self) -> tuple[str, ...]:
        """Return a line that names the classes that some split has no text of."""
        by_class = {
            name: {split: self.label_counts[split][name] for split in _ORDER}
            for name in self.labels
            if all(name in counts for counts in self.label_counts.values())  # no ranges of numbers
        }
        small = [
            f"{name} ({', '.join(f'{count} {split}' for split, count in counts.items())})"
            for name, counts in by_class.items()
            if not all(counts.values())
        ]
        if not small:
            return ()
        rest = f" and {len(small) - _NAMED:,} more" if len(small) > _NAMED else ""
        return (f"data: too few texts to be in all splits: {', '.join(small[:_NAMED])}{rest}",)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnlabelledFacts:
    """Texts without labels, beside the splits."""

    texts: int
    known: int
    """Texts left out because a split has them, or because they had been read before."""

    def said(self) -> tuple[str, ...]:
        """Return what a person wants to know of them, in lines."""
        dropped = f"{self.known:,} that were known already" if self.known else "nothing"
        return (f"unlabelled: {self.texts:,} texts; dropped: {dropped}",)
