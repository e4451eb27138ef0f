"""An exported model on texts, without torch."""
