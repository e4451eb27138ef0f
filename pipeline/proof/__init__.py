"""The benchmark's parts: structure, paired timing in processes of their own, and the verdict."""
