"""The tasks that a model is trained for, one file per task."""
