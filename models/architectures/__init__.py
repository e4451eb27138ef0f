"""Where the modules that matter are in each architecture."""
