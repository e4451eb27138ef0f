"""Absorption of adapters into weights, exactly or by regression."""
