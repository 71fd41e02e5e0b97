"""The engine "compile"."""
