"""Where functions run."""
