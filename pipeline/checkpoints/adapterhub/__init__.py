"""AdapterHub's format: read, written, and set up on a backbone."""
