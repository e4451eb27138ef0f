"""Stages of the chain without a run, one file per command."""
