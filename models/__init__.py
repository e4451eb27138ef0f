"""Adapters, their sites in each architecture, and the two models: teacher and student."""
