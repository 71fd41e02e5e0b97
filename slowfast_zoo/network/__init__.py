"""The network: one module class for every SlowFast."""
