"""Pure decisions from facts and limits, with reasons."""
