"""What an adapter is, and how it is attached to an untouched backbone."""
