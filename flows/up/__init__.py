"""The local installation: servers and worker as child processes."""
