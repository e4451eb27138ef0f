"""Facts of the stage absorb."""

from dataclasses import dataclass
from typing import Literal

HeldOutTexts = Literal["validation", "given"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteFit:
    """How well one dense layer of the student absorbed what its adapter does."""

    layer: int
    site: str
    """``attention`` or ``ffn``."""
    r2: float
    """Part of the difference to the teacher that is gone, on held-out tokens; 0 where the
    backbone's weights were kept."""
    ridge: float
    """Chosen strength, relative to the mean of the Gram matrix's diagonal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AbsorbFacts:
    """The closed-form start of the student."""

    texts: int
    tokens: int
    method: str
    """Way of the absorption: ``exact`` folds the adapters up to rounding, ``ridge`` regresses."""
    extra_units: int
    """Units by which each layer's FFN is wider than the backbone's."""
    why_not_exact: tuple[str, ...]
    """Obstacles to an exact fold, in sentences."""
    embeddings_r2: float | None = None
    """Part of the invertible adapter's change that the student's embeddings took over, 1 for all.
    The sites' regressions correct for the rest. None without an invertible adapter."""
    held_out: dict[str, float]
    """Closeness to the teacher on texts outside every regression, before any gradient step. Where
    the texts have labels, it holds the student's quality too."""
    held_out_texts: HeldOutTexts = "given"
    """Source of the held-out texts. The teacher was not trained on the ``validation`` split. It may
    know ``given`` texts, on which a student agrees with it more easily."""
    sites: tuple[SiteFit, ...]
    """Empty for an exact fold."""
    device: str = ""
    """Device that absorbed, with its name and memory where it is a GPU."""
