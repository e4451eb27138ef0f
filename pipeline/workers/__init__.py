"""Where a build runs: in a child process."""
