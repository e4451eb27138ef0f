"""From a finished run to the champion: bundle, registry, comparison, promotion, roll back."""
