"""Prefect flows and the command line: order, names, retries and artifacts, no logic."""
