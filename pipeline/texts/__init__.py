"""Texts on disk: sources, splits and soft targets."""
