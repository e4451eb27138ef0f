"""The stages as Prefect tasks, by what they make: teacher, student, and proof."""
