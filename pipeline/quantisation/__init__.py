"""The int8 file, and which variant of it is good enough and fastest."""
