"""The order of the stages as a plain program, and what shapes each."""
