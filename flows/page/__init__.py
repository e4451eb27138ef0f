"""A run's page in the Prefect UI: artifacts and progress."""
