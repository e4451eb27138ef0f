"""What an adapter is, where it sits in each architecture, and what a student is."""
