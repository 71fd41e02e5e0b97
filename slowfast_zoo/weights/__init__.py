"""Published checkpoints: the catalogue, downloads, safe reading, and the Hub."""
