"""Finished stages by what made them; digests; atomic files."""
