"""A model as a file for other runtimes, with its proof."""
