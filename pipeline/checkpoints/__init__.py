"""Models and adapters on disk, ours and AdapterHub's."""
