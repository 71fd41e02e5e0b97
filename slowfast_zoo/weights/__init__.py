"""Published checkpoints: the catalog, downloads, safe reading, and the Hub."""
