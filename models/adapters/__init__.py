"""Adapters, and how they are attached to an untouched backbone."""
