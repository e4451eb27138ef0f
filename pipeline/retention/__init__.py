"""Which runs, stages and logs may go, and their removal."""
