"""Names that the registry gives to versions by what they are for."""

CHAMPION = "champion"
"""The version that is served."""
CHALLENGER = "challenger"
"""The newest version that passed its gate."""
PREVIOUS = "previous"
"""The version that a roll back returns to; it is shown, and the history decides."""
