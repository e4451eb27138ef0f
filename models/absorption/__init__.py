"""What adapters do, moved into weights: exactly or by regression."""
