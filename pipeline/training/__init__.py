"""Gradient descent on any model."""
