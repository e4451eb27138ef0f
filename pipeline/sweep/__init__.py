"""Smaller students: which there are, how good and how fast they are, and which one is picked."""
