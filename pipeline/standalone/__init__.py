"""The same work without a run, one file per command."""
