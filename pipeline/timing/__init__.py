"""Processes that measure, and the blocks they return."""
