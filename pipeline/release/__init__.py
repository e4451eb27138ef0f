"""From a finished run to the champion: bundle, registry, promotion, challengers, roll back."""
