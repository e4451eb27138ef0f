"""Contents that a Prefect server must hold before work starts on it."""
